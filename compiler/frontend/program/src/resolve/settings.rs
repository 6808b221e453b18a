//! Resolution of Kyverno settings.

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_suggest::nearest;
use npc_syntax::ast;

use super::Context;
use crate::ir::{FailurePolicy, Settings};
use crate::load::ItemSource;

npc_diagnostics::codes! {
    /// # An unknown Kyverno setting
    ///
    /// The settings are `synchronize`, `generate-existing`, `webhook-timeout`, `failure-policy` and
    /// `orphan-on-delete`.
    ///
    /// ```np fails
    /// kyverno { syncronize = true }
    /// ```
    ///
    /// ```np
    /// kyverno { synchronize = true }
    /// ```
    UNKNOWN_SETTING = "NP0411" "unknown-setting" Error;

    /// # An invalid value of a setting
    ///
    /// `synchronize`, `generate-existing` and `orphan-on-delete` are `true` or `false`;
    /// `webhook-timeout` is from `1s` to `30s`; `failure-policy` is `ignore` or `fail`.
    ///
    /// ```np fails
    /// kyverno { webhook-timeout = 60s }
    /// ```
    ///
    /// ```np
    /// kyverno { webhook-timeout = 30s }
    /// ```
    SETTING_VALUE = "NP0412" "setting-value" Error;

    /// # A setting is set twice
    ///
    /// ```np fails
    /// kyverno {
    ///   synchronize = true
    ///   synchronize = false
    /// }
    /// ```
    ///
    /// ```np
    /// kyverno {
    ///   synchronize = true
    /// }
    /// ```
    SETTING_TWICE = "NP0413" "setting-twice" Error;
}

/// The description of a setting, for completion and hover texts.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// The possible values. For a duration, examples.
    pub values: &'static [&'static str],
    /// The default value.
    pub default: &'static str,
    /// A description in one sentence.
    pub about: &'static str,
}

/// All settings.
pub const SETTINGS: [Setting; 5] = [
    Setting {
        name: "synchronize",
        values: &["true", "false"],
        default: "true",
        about: "Kyverno reverts edits of generated objects, and deletes them with their policy.",
    },
    Setting {
        name: "generate-existing",
        values: &["true", "false"],
        default: "true",
        about: "Kyverno also generates objects in namespaces that already exist.",
    },
    Setting {
        name: "webhook-timeout",
        values: &["5s", "10s", "30s"],
        default: "5s",
        about: "How long the API server waits for Kyverno, from `1s` to `30s`.",
    },
    Setting {
        name: "failure-policy",
        values: &["ignore", "fail"],
        default: "ignore",
        about: "What the API server does with a new namespace if Kyverno does not answer: `ignore` accepts it without its \
                policies, `fail` rejects it.",
    },
    Setting {
        name: "orphan-on-delete",
        values: &["true", "false"],
        default: "false",
        about: "Generated objects stay when the Kyverno policy is deleted.",
    },
];

impl Context<'_> {
    /// Resolves a block of settings and stores the values in `settings`.
    pub(super) fn settings(&mut self, source: ItemSource, block: &ast::Settings, settings: &mut Settings) {
        for (key, value) in &block.entries {
            let name = self.text(source, *key).into_owned();
            let text = self.text(source, *value).into_owned();
            let place = source.at(key.span);
            let value = Value { setting: &name, text: &text, location: source.at(value.span) };
            let read = match name.as_str() {
                "synchronize" => set(&mut settings.synchronize, value.truth(), &name, place),
                "generate-existing" => set(&mut settings.generate_existing, value.truth(), &name, place),
                "orphan-on-delete" => set(&mut settings.orphan_on_delete, value.truth(), &name, place),
                "webhook-timeout" => set(&mut settings.webhook_timeout, value.seconds(), &name, place),
                "failure-policy" => set(&mut settings.failure_policy, value.failure_policy(), &name, place),
                _ => {
                    let diagnostic = Diagnostic::new(
                        &UNKNOWN_SETTING,
                        format!("there is no setting `{name}`"),
                        place,
                        "unknown",
                    );
                    Err(Box::new(match nearest(&name, SETTINGS.map(|setting| setting.name)) {
                        Some(near) => diagnostic.help(format!("did you mean `{near}`?")).fix(
                            Applicability::Automatic,
                            format!("write `{near}`"),
                            place,
                            near,
                        ),
                        None => {
                            let names = SETTINGS.map(|setting| setting.name).join(", ");
                            diagnostic.help(format!("the settings are {names}"))
                        }
                    }))
                }
            };
            self.ok(read);
        }
    }
}

/// Stores the value of a setting.
///
/// # Errors
///
/// If the value is invalid, or the setting already has a value.
fn set<T>(
    slot: &mut Option<(T, Location)>,
    value: Result<T, Box<Diagnostic>>,
    name: &str,
    place: Location,
) -> Result<(), Box<Diagnostic>> {
    if let Some((_, first)) = slot {
        return Err(Box::new(
            Diagnostic::new(&SETTING_TWICE, format!("`{name}` is set twice"), place, "again here")
                .label(*first, "first here"),
        ));
    }
    *slot = Some((value?, place));
    Ok(())
}

/// The value of a setting, as text.
struct Value<'a> {
    setting: &'a str,
    text: &'a str,
    location: Location,
}

impl Value<'_> {
    fn wrong(&self, why: &str) -> Box<Diagnostic> {
        Box::new(Diagnostic::new(
            &SETTING_VALUE,
            format!("`{}` is not a value of `{}`", self.text, self.setting),
            self.location,
            why,
        ))
    }

    fn truth(&self) -> Result<bool, Box<Diagnostic>> {
        match self.text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    fn seconds(&self) -> Result<u8, Box<Diagnostic>> {
        self.text
            .strip_suffix('s')
            .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|number| number.parse().ok())
            .filter(|seconds| (1..=30).contains(seconds))
            .ok_or_else(|| self.wrong("from `1s` to `30s`"))
    }

    fn failure_policy(&self) -> Result<FailurePolicy, Box<Diagnostic>> {
        FailurePolicy::parse(self.text).ok_or_else(|| self.wrong("`ignore` or `fail`"))
    }
}
