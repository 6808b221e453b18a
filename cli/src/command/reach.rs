//! `npc reach`

use npc_reach::write::{csv, dot, json, svg, text};
use npc_reach::{Reach, View};

use crate::Outcome;
use crate::arguments::{Format, Reach as Arguments, ReachFormat};
use crate::files::{Error, print};
use crate::policies::{self, Purpose};
use crate::project::cluster;
use crate::report::Reporter;

pub(crate) fn run(arguments: &Arguments, colour: bool) -> Result<Outcome, Error> {
    let policies =
        policies::read(&arguments.inputs, arguments.namespace.namespace.as_deref(), Purpose::Answer)?;
    let reporter = Reporter::new(Format::Human, colour, false);
    if policies.has_errors() {
        reporter.print(&policies.diagnostics, &policies.sources)?;
        return Ok(Outcome::CouldNotRun);
    }
    let Some(Some(cluster)) = cluster(Some(&arguments.cluster), &reporter)? else {
        return Ok(Outcome::CouldNotRun);
    };
    if cluster.pods.is_empty() {
        return Err(Error::new(format!(
            "{} has no running pods: include them with `kubectl get namespaces,pods -A -o yaml`",
            arguments.cluster.display()
        )));
    }
    policies.print_caveats(&reporter, |name| cluster.namespace(name).is_some())?;
    let reach = Reach::new(&policies.program, &cluster);
    let view = View::new(&reach, &arguments.from, &arguments.to)
        .map_err(|error| Error::new(format!("{}: {error}", arguments.cluster.display())))?;
    let too_large = |error: npc_reach::write::TooLarge| Error::new(error.to_string());
    let written = match arguments.format {
        ReachFormat::Human => text(&view),
        ReachFormat::Json => json(&view),
        ReachFormat::Csv => csv(&view),
        ReachFormat::Dot => dot(&view),
        ReachFormat::Svg => svg(&view).map_err(too_large)?,
        ReachFormat::Html => {
            npc_driver::reach_page(&policies.program, &policies.sources, &view).map_err(too_large)?
        }
    };
    print(&written)?;
    Ok(Outcome::Fine)
}
