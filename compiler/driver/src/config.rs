//! The configuration file `npc.toml`.

use std::collections::BTreeMap;

use npc_diagnostics::{Code, Diagnostic, FileId, Level, Location, SourceMap, Span};
use npc_lints::Cni;
use npc_program::FailurePolicy;
use npc_program::values::{address, name};
use npc_suggest::nearest;
use npc_targets::{AnyTarget, KyvernoVersion, Options, PodCidrs};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use toml::Spanned;

npc_diagnostics::codes! {
    /// # An error in `npc.toml`
    ///
    /// The file contains the configuration of all programs in its folder and subfolders:
    ///
    /// ```toml
    /// [compile]
    /// targets = ["kyverno", "kyverno-cel"]    # the targets of `npc compile`
    ///
    /// [kyverno]
    /// version = "1.19.1"                      # the version in the cluster
    /// filtered-namespaces = ["kube-system"]   # namespaces that Kyverno's configuration excludes
    /// guard = "fail"                          # like `--with-guard=fail`
    ///
    /// [cluster]
    /// pod-cidrs = ["10.244.0.0/16"]           # the CIDRs that pods have their addresses from
    ///
    /// [lints]
    /// NP0210 = "error"                        # allow, note, warning or error
    /// ```
    BAD_CONFIG = "NP0701" "bad-config" Error;
}

/// The configuration of `npc.toml`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The targets of `npc compile`; empty if the file does not set them.
    pub targets: Vec<AnyTarget>,
    /// The levels of diagnostics.
    pub lints: LintLevels,
    /// The options of the targets.
    pub options: Options,
    /// The CNI of the cluster, if the file sets it.
    pub cni: Option<Cni>,
}

/// The levels of diagnostics that differ from the defaults of their codes.
#[derive(Clone, Debug, Default)]
pub struct LintLevels {
    levels: FxHashMap<&'static str, Level>,
}

impl LintLevels {
    /// The level set for a code.
    #[must_use]
    pub fn get(&self, code: &Code) -> Option<Level> {
        self.levels.get(code.id).copied()
    }

    /// Sets the level of a code.
    pub fn set(&mut self, code: &'static Code, level: Level) {
        self.levels.insert(code.id, level);
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    compile: Compile,
    kyverno: Kyverno,
    cluster: ClusterSection,
    lints: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Compile {
    targets: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Kyverno {
    version: Option<Spanned<String>>,
    filtered_namespaces: Option<Vec<Spanned<String>>>,
    guard: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct ClusterSection {
    pod_cidrs: Vec<Spanned<String>>,
    cni: Option<Spanned<String>>,
}

impl Config {
    /// Parses the text of an `npc.toml`. Adds the file to `sources`, so that diagnostics can refer to it.
    ///
    /// # Errors
    ///
    /// The diagnostics for all errors in the file.
    pub fn parse(file_name: &str, text: &str, sources: &mut SourceMap) -> Result<Self, Vec<Diagnostic>> {
        let id = sources.add(file_name, text);
        let file: File = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            vec![wrong(id, span, error.message().lines().next().unwrap_or("not TOML"))]
        })?;
        let mut reader = Reader { id, diagnostics: Vec::new() };
        let config = Self {
            targets: reader.targets(&file.compile),
            lints: reader.lints(&file.lints),
            options: reader.options(&file),
            cni: reader.cni(&file.cluster),
        };
        if reader.diagnostics.is_empty() { Ok(config) } else { Err(reader.diagnostics) }
    }
}

fn wrong(id: FileId, span: std::ops::Range<usize>, why: &str) -> Diagnostic {
    let span = Span::new(span.start as u32, span.end as u32);
    Diagnostic::new(&BAD_CONFIG, "an error in the configuration", Location::new(id, span), why)
}

struct Reader {
    id: FileId,
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    fn emit<T>(&mut self, value: &Spanned<T>, why: &str) {
        self.diagnostics.push(wrong(self.id, value.span(), why));
    }

    fn cni(&mut self, section: &ClusterSection) -> Option<Cni> {
        let written = section.cni.as_ref()?;
        match written.as_ref().parse() {
            Ok(cni) => Some(cni),
            Err(why) => {
                let why: String = why;
                self.emit(written, &why);
                None
            }
        }
    }

    fn targets(&mut self, section: &Compile) -> Vec<AnyTarget> {
        let mut targets = Vec::new();
        for written in &section.targets {
            match AnyTarget::parse(written.as_ref()) {
                Some(target) => {
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
                None => {
                    let names: Vec<&str> = AnyTarget::ALL.iter().map(|target| target.name()).collect();
                    self.emit(written, &format!("not a target: the targets are {}", names.join(", ")));
                }
            }
        }
        targets
    }

    fn lints(&mut self, section: &BTreeMap<Spanned<String>, Spanned<String>>) -> LintLevels {
        let codes = crate::codes();
        let mut levels = LintLevels::default();
        for (key, value) in section {
            let name: &str = key.as_ref();
            let Some(code) = codes.iter().find(|code| code.id == name || code.name == name) else {
                let near = nearest(name, codes.iter().flat_map(|code| [code.id, code.name]));
                let why = match near {
                    Some(near) => format!("there is no code `{name}`: did you mean `{near}`?"),
                    None => format!("there is no code `{name}`"),
                };
                self.emit(key, &why);
                continue;
            };
            let level = [Level::Allow, Level::Note, Level::Warning, Level::Error]
                .into_iter()
                .find(|level| level.as_str() == value.as_ref());
            match level {
                Some(Level::Error) => levels.set(code, Level::Error),
                Some(_) if code.level == Level::Error => {
                    self.emit(value, "the level of an error cannot be changed");
                }
                Some(level) => levels.set(code, level),
                None => self.emit(value, "a level is `allow`, `note`, `warning` or `error`"),
            }
        }
        levels
    }

    fn options(&mut self, file: &File) -> Options {
        let mut options = Options::default();
        if let Some(version) = &file.kyverno.version {
            match version.as_ref().parse::<KyvernoVersion>() {
                Ok(version) => options.kyverno_version = version,
                Err(why) => self.emit(version, &why),
            }
        }
        if let Some(names) = &file.kyverno.filtered_namespaces {
            options.filtered_namespaces = Vec::new();
            for written in names {
                if name::is_label(written.as_ref()) {
                    options.filtered_namespaces.push(written.as_ref().clone());
                } else {
                    self.emit(written, "not the name of a namespace");
                }
            }
        }
        if let Some(written) = &file.kyverno.guard {
            options.guard = FailurePolicy::parse(written.as_ref());
            if options.guard.is_none() {
                self.emit(
                    written,
                    "expected `fail` or `ignore`: the API server rejects or accepts NetworkPolicies if Kyverno does not answer",
                );
            }
        }
        let mut blocks = Vec::new();
        for written in &file.cluster.pod_cidrs {
            let span = written.span();
            let location = Location::new(self.id, Span::new(span.start as u32, span.end as u32));
            match address::parse(written.as_ref(), location) {
                Ok(block) => blocks.push(block),
                Err(diagnostic) => self.emit(written, &diagnostic.message),
            }
        }
        options.pod_cidrs = PodCidrs::new(blocks);
        options
    }
}
