//! `npc query`

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use npc_cluster::{Cluster, Index, Question, Resolution};
use npc_diagnostics::SourceMap;
use npc_driver::{Answer, Explainer, ask, round_trip};
use npc_image::{Image, verdict};
use npc_model::Evaluator;
use npc_program::Program;
use npc_targets::ReadBack;
use npc_vocabulary::Connection;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Outcome;
use crate::answer::Answers;
use crate::arguments::{AnswerFormat, Format, Query, Way};
use crate::files::{Error, print};
use crate::policies::{self, Policies, Purpose};
use crate::project::cluster;
use crate::report::Reporter;

pub(crate) fn run(arguments: &Query, colour: bool) -> Result<Outcome, Error> {
    let (ends, inputs) = split(arguments)?;
    let policies = policies::read(&inputs, arguments.namespace.namespace.as_deref(), Purpose::Answer)?;
    let reporter = Reporter::new(Format::Human, colour, false);
    if policies.has_errors() {
        reporter.print(&policies.diagnostics, &policies.sources)?;
        return Ok(Outcome::CouldNotRun);
    }
    let Some(cluster) = cluster(arguments.cluster.as_deref(), &reporter)? else {
        return Ok(Outcome::CouldNotRun);
    };
    let ways = match ways(arguments, &policies, cluster.as_ref(), &reporter)? {
        Some(ways) => ways,
        None => return Ok(Outcome::CouldNotRun),
    };
    match ends {
        Some(ends) => {
            let answers = one(&ways, cluster.as_ref(), ends)?;
            policies.print_caveats(&reporter, |name| answers.are_about(name))?;
            print_one(arguments, &ways, &answers, ends)
        }
        None => match &arguments.connections {
            Some(file) => {
                let is_there = |name: &str| cluster.as_ref().is_some_and(|own| own.namespace(name).is_some());
                policies.print_caveats(&reporter, is_there)?;
                many(file, &ways, cluster.as_ref(), !arguments.verdicts)
            }
            None => Err(Error::new("missing connection: SOURCE DESTINATION PORT, or `--connections FILE`")),
        },
    }
}

/// Splits the positional arguments into the connection, unless `--connections` is given, and the files.
fn split(arguments: &Query) -> Result<(Option<[&str; 3]>, Vec<PathBuf>), Error> {
    let words = &arguments.words;
    let (ends, files) = if arguments.connections.is_some() {
        (None, words.as_slice())
    } else {
        match words.as_slice() {
            [source, destination, port, files @ ..] => (Some([source.as_str(), destination, port]), files),
            _ => {
                return Err(Error::new(
                    "missing connection: `npc query SOURCE DESTINATION PORT`, as in `npc query shop/web data/db tcp/5432`",
                ));
            }
        }
    };
    let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    Ok((ends, if files.is_empty() { vec![PathBuf::from(".")] } else { files }))
}

/// A program to evaluate, with the name of the way.
struct Asked<'p> {
    way: Way,
    program: std::borrow::Cow<'p, Program>,
    sources: std::borrow::Cow<'p, SourceMap>,
    /// The map image to evaluate instead of the program. Its policies and rules have the same order.
    image: Option<Image>,
    /// The reasons why Kyverno does not generate some of the policies in the cluster.
    gaps: Vec<String>,
}

impl Asked<'_> {
    fn answer(&self, connection: &Connection<'_>) -> Answer {
        match &self.image {
            None => ask(&self.program, &self.sources, connection),
            Some(image) => {
                Explainer::new(&self.program, &self.sources).explain(connection, &verdict(image, connection))
            }
        }
    }
}

/// The programs to evaluate: the policies themselves, or the compiled output of targets. `None` if a
/// target cannot express the policies; the diagnostics are then printed.
fn ways<'p>(
    arguments: &Query,
    policies: &'p Policies,
    cluster: Option<&Cluster>,
    reporter: &Reporter,
) -> Result<Option<Vec<Asked<'p>>>, Error> {
    use std::borrow::Cow;
    let mut ways = Vec::new();
    let mut named: Option<Program> = None;
    for way in &arguments.via {
        let (program, sources) = (&policies.program, &policies.sources);
        let unchanged = |image| Asked {
            way: *way,
            program: Cow::Borrowed(program),
            sources: Cow::Borrowed(sources),
            image,
            gaps: Vec::new(),
        };
        let target = match way {
            Way::Program => {
                ways.push(unchanged(None));
                continue;
            }
            Way::Target(target) if !target.capabilities().text => {
                let options = &policies.config.options;
                let output = npc_targets::compile(*target, program, sources, options, None);
                let ReadBack::Image(image) = output.read_back().map_err(Error::new)? else {
                    return Err(Error::new(format!("npc cannot evaluate the output of target `{target}`")));
                };
                ways.push(unchanged(Some(*image)));
                continue;
            }
            Way::Target(target) => *target,
        };
        let Some(cluster) = cluster else {
            return Err(Error::new(format!("`--via {target}` requires the cluster: `--cluster FILE`")));
        };
        // Imported policies can have names that are invalid in a program.
        let program = named.get_or_insert_with(|| {
            let mut program = policies.program.clone();
            npc_driver::rename(&mut program);
            program
        });
        // For manifests, the question is whether their compiled form has the same meaning. The objects
        // exist in their namespaces, whatever Kyverno's resource filters are.
        let mut options = policies.config.options.clone();
        if !policies.is_program() {
            options.filtered_namespaces.clear();
        }
        match round_trip(target, program, &policies.sources, &options, cluster) {
            Ok(round_trip) => ways.push(Asked {
                way: *way,
                program: Cow::Owned(round_trip.program),
                sources: Cow::Owned(round_trip.sources),
                image: None,
                gaps: round_trip.gaps,
            }),
            Err(found) => {
                reporter.print(&found, &policies.sources)?;
                return Ok(None);
            }
        }
    }
    Ok(Some(ways))
}

/// Evaluates one connection; for a Service, one per endpoint.
fn one(
    ways: &[Asked<'_>],
    cluster: Option<&Cluster>,
    [source, destination, port]: [&str; 3],
) -> Result<Answers, Error> {
    let (protocol, port) = port.split_once('/').unwrap_or((port, ""));
    let question =
        Question { source, source_address: None, destination, destination_address: None, protocol, port };
    let index = cluster.map(Index::new);
    let resolution = question.resolve(index.as_ref()).map_err(Error::new)?;
    Ok(Answers::new(&resolution, |connection| {
        ways.iter().map(|asked| (asked.way, asked.answer(connection))).collect()
    }))
}

fn print_one(
    arguments: &Query,
    ways: &[Asked<'_>],
    answers: &Answers,
    [source, ..]: [&str; 3],
) -> Result<Outcome, Error> {
    match arguments.format {
        AnswerFormat::Json => {
            let mut out = Vec::new();
            answers.write_json(&mut out);
            out.push(b'\n');
            print(out)?;
        }
        AnswerFormat::Human => print(answers.human(source))?,
    }
    if answers.differ() {
        why_they_differ(ways, "the ways give different verdicts");
    }
    Ok(if answers.differ() || !answers.allowed() { Outcome::Found } else { Outcome::Fine })
}

/// Prints why the ways give different verdicts: Kyverno may not generate everything. Any other
/// difference is a bug.
fn why_they_differ(ways: &[Asked<'_>], what: &str) {
    let gaps: Vec<&String> = ways.iter().flat_map(|asked| &asked.gaps).collect();
    if gaps.is_empty() {
        crate::report::error_line(&format!("{what}: this is a bug in npc, please report it"));
        return;
    }
    crate::report::error_line(&format!(
        "{what}, because Kyverno does not generate all of the compiled policies:"
    ));
    gaps.into_iter().for_each(|gap| crate::report::line(&format!("  {gap}")));
}

/// A line of `--connections`.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    src: std::borrow::Cow<'a, str>,
    #[serde(rename = "srcIP")]
    src_ip: Option<IpAddr>,
    #[serde(borrow)]
    dst: std::borrow::Cow<'a, str>,
    #[serde(rename = "dstIP")]
    dst_ip: Option<IpAddr>,
    #[serde(borrow)]
    proto: std::borrow::Cow<'a, str>,
    #[serde(default)]
    port: Option<Value>,
}

/// The number of bytes of input that are evaluated together.
const BATCH: usize = 4 << 20;

/// Evaluates many connections, one per line, and prints the results in order. A line that cannot be
/// evaluated gets an error.
fn many(
    file: &Path,
    ways: &[Asked<'_>],
    cluster: Option<&Cluster>,
    with_reasons: bool,
) -> Result<Outcome, Error> {
    let reader: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| Error::io("read", file, &error))?)
    };
    let mut reader = BufReader::new(reader);
    let mut out = std::io::stdout().lock();
    let failed = |error: std::io::Error| Error::io("write to", Path::new("standard output"), &error);
    let no_pods = Cluster::default();
    let pods = cluster.unwrap_or(&no_pods);
    let known = cluster.map(Index::new);
    let ready: Vec<Ready<'_>> = ways
        .iter()
        .map(|asked| Ready {
            way: asked.way,
            judge: match &asked.image {
                None => Judge::Program(Box::new(Evaluator::new(&asked.program, pods))),
                Some(image) => Judge::Image(image),
            },
            explainer: with_reasons.then(|| Explainer::new(&asked.program, &asked.sources)),
        })
        .collect();
    let mut total = Counts::default();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        let limit = BATCH.try_into().unwrap_or(u64::MAX);
        let read = reader.by_ref().take(limit).read_to_end(&mut batch);
        read.and_then(|_| reader.read_until(b'\n', &mut batch))
            .map_err(|error| Error::io("read", file, &error))?;
        if batch.is_empty() {
            break;
        }
        let lines: Vec<&[u8]> = batch.split(|byte| *byte == b'\n').collect();
        // There is no line after the last line break.
        let lines = match lines.as_slice() {
            [lines @ .., []] => lines,
            lines => lines,
        };
        let first = total.lines + 1;
        let answered: Vec<(Vec<u8>, Counts)> = lines
            .par_chunks(1024)
            .enumerate()
            .map(|(index, lines)| {
                let mut text = Vec::with_capacity(1 << 20);
                let mut counts = Counts::default();
                for (number, line) in (first + index * 1024..).zip(lines) {
                    answer_line(&mut text, &mut counts, number, line, &ready, known.as_ref());
                }
                (text, counts)
            })
            .collect();
        for (text, counts) in answered {
            out.write_all(&text).map_err(failed)?;
            total.lines += counts.lines;
            total.bad += counts.bad;
            total.differ += counts.differ;
        }
    }
    out.flush().map_err(failed)?;
    let Counts { lines, bad, differ } = total;
    if bad > 0 {
        crate::report::error_line(&format!(
            "{bad} of {lines} lines could not be evaluated: see the `error` in each"
        ));
    }
    if differ > 0 {
        why_they_differ(ways, &format!("the ways give different verdicts for {differ} connections"));
    }
    Ok(if bad > 0 || differ > 0 { Outcome::Found } else { Outcome::Fine })
}

/// A way of evaluation, prepared for many connections.
struct Ready<'a> {
    way: Way,
    judge: Judge<'a>,
    /// `None` with `--verdicts`.
    explainer: Option<Explainer<'a>>,
}

impl Ready<'_> {
    fn answer(&self, connection: &Connection<'_>) -> Answer {
        let verdict = match &self.judge {
            Judge::Program(evaluator) => evaluator.verdict(connection),
            Judge::Image(image) => verdict(image, connection),
        };
        match &self.explainer {
            Some(explainer) => explainer.explain(connection, &verdict),
            None => Answer::without_reasons(connection, &verdict),
        }
    }
}

enum Judge<'a> {
    Program(Box<Evaluator<'a>>),
    Image(&'a Image),
}

#[derive(Default)]
struct Counts {
    lines: usize,
    bad: usize,
    differ: usize,
}

fn answer_line(
    out: &mut Vec<u8>,
    counts: &mut Counts,
    number: usize,
    line: &[u8],
    ways: &[Ready<'_>],
    cluster: Option<&Index<'_>>,
) {
    counts.lines += 1;
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    let resolution = std::str::from_utf8(line)
        .map_err(|_| "not UTF-8 text".to_owned())
        .and_then(|text| resolve(text, cluster));
    match resolution {
        Ok(resolution) => {
            let answers = Answers::new(&resolution, |connection| {
                ways.iter().map(|ready| (ready.way, ready.answer(connection))).collect()
            });
            counts.differ += usize::from(answers.differ());
            answers.write_json(out);
        }
        Err(why) => {
            counts.bad += 1;
            out.extend_from_slice(json!({"line": number, "error": why}).to_string().as_bytes());
        }
    }
    out.push(b'\n');
}

/// Parses a line and resolves its connections.
fn resolve<'c>(text: &str, cluster: Option<&Index<'c>>) -> Result<Resolution<'c>, String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let port = match &line.port {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
    };
    let question = Question {
        source: &line.src,
        source_address: line.src_ip,
        destination: &line.dst,
        destination_address: line.dst_ip,
        protocol: &line.proto,
        port: &port,
    };
    question.resolve(cluster)
}
