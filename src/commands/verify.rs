//! `planc verify`: every byte of a plan, and whether this machine can run it.

use crate::Outcome;
use crate::args::verbs::Verify;
use crate::error::{CliError, Exit};
use crate::report;
use crate::source;
use planc_plan::container::{Container, SectionKind};
use planc_plan::program::Manifest;
use planc_runtime::{OpenError, OpenOptions, Plan, map::PlanBytes};
use serde::Serialize;

#[derive(Serialize)]
struct Check {
    name: String,
    ok: bool,
    message: String,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// Checks a plan; the exit code says what is wrong: 3 no plan, 5 another version or machine, 6 damaged.
///
/// # Errors
/// When the file cannot be read. What is wrong with the plan is printed with the checks, and on stderr.
pub fn run(args: &Verify) -> Outcome {
    let bytes = PlanBytes::map(&args.plan).map_err(|e| CliError::from(OpenError::from(e)).file(&args.plan))?;
    let mut checks = Vec::new();
    let failure = check(&bytes, args, &mut checks).err();
    if let Some(e) = &failure {
        checks.push(Check { name: e.check.to_string(), ok: false, message: e.error.message().to_string() });
    }
    let report = Report { ok: failure.is_none(), checks };
    if args.json {
        report::print_json(&report)?;
    } else {
        let rows = report.checks.iter().map(|c| {
            let verdict = if c.ok { "ok" } else { "FAILED" };
            vec![c.name.clone(), verdict.to_string(), c.message.clone()]
        });
        report::print(&report::table(&["check", "verdict", ""], rows))?;
    }
    failure.map_or(Ok(Exit::Ok), |f| Err(f.error))
}

/// The check that failed, and how.
struct Failure {
    check: &'static str,
    error: CliError,
}

fn check(bytes: &PlanBytes, args: &Verify, checks: &mut Vec<Check>) -> Result<(), Failure> {
    let fail = |check: &'static str| move |e: CliError| Failure { check, error: e.file(&args.plan) };
    let mut pass = |name: String, message: String| checks.push(Check { name, ok: true, message });
    let container = Container::parse(bytes.bytes()).map_err(|e| fail("container")(e.into()))?;
    pass(
        "container".into(),
        format!("{} sections, {}", container.sections().len(), report::bytes(bytes.bytes().len() as u64)),
    );
    container.verify_weights().map_err(|e| fail("weights")(e.into()))?;
    for s in container.sections() {
        pass(s.kind.to_string(), format!("blake3 {}", report::hex(&s.hash)));
    }
    let weights = container.entry(SectionKind::Weights).map_or(0, |s| s.range.len() as u64);
    let manifest = container.require(SectionKind::Manifest).map_err(|e| fail("manifest")(e.into()))?;
    let manifest = Manifest::decode(manifest, weights).map_err(|e| fail("manifest")(OpenError::from(e).into()))?;
    pass("programs".into(), format!("{} programs", manifest.programs.len()));
    let plan = Plan::open(&args.plan, OpenOptions::default()).map_err(|e| fail("open")(e.into()))?;
    let symbols = source::has_code(&plan).map_err(fail("open"))?;
    pass("open".into(), if symbols { "native code for this plan is present".into() } else { "no native code".into() });
    pass("content".into(), format!("digest {}", report::hex(&container.content_digest())));
    Ok(())
}
