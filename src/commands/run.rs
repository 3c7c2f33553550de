//! `planc run`: one inference.

use crate::Outcome;
use crate::args::verbs::Run;
use crate::error::{CliError, Exit, Fault};
use crate::io::compare::{self, Compared};
use crate::io::inputs;
use crate::io::outputs::{self, Output};
use crate::machine::ms;
use crate::{report, source};
use planc_plan::program::PackedType;
use planc_tensor::{DType, Tensor, Value, View, unpack};
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Shown {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
}

#[derive(Serialize)]
struct Report {
    outputs: Vec<Shown>,
    compile_ms: Option<f64>,
    load_ms: f64,
    run_ms: f64,
    threads: usize,
    native_code: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Vec<Compared>>,
}

/// Runs a plan or model once.
///
/// # Errors
/// Those of compiling and opening, of the inputs, and of the run.
pub fn run(args: &Run) -> Outcome {
    let path = args.subject.file();
    let (opened, session) = source::ready(&path, &args.compilation, &args.execution, args.json)?;
    let given = inputs::collect(&inputs::ports(&opened.plan), &args.inputs)?;
    let views: Vec<View<'_>> = given.tensors.iter().map(Tensor::view).collect();
    let started = Instant::now();
    let results = session.run(&views)?;
    let run_ms = ms(started.elapsed());
    let value = |(t, packed): (Tensor, Option<&PackedType>)| match packed {
        Some(_) => unpack(t.view()).map_err(|e| CliError::new(Fault::Step, e.to_string())),
        None => Ok(Value::Tensor(t)),
    };
    let values = results.into_iter().zip(opened.plan.packed_outputs()).map(value).collect::<Result<Vec<_>, _>>()?;
    let types = opened.plan.packed_outputs();
    let named = opened.plan.outputs().zip(values).zip(types);
    let named: Vec<Output<'_>> =
        named.map(|((d, value), packed)| Output { name: d.name.clone(), value, packed }).collect();
    if let Some(folder) = &args.outputs {
        outputs::write(folder, &named, given.form)?;
    }
    let compared =
        args.reference.as_ref().map(|f| compare::with_folder(f, &named, args.rtol, args.atol)).transpose()?;
    let failed = compared.iter().flatten().any(|c| !c.ok);
    if args.json {
        let output = |o: &Output<'_>| {
            let (dtype, shape) = match &o.value {
                Value::Tensor(t) => (t.dtype().name(), t.shape().to_vec()),
                Value::Sequence(list) => ("sequence", vec![list.len()]),
                Value::Optional(v) => ("optional", vec![usize::from(v.is_some())]),
                Value::Map(m) => ("map", vec![m.len()]),
            };
            Shown { name: o.name.clone(), dtype, shape }
        };
        report::print_json(&Report {
            outputs: named.iter().map(output).collect(),
            compile_ms: opened.compile_ms,
            load_ms: opened.load_ms,
            run_ms,
            threads: args.execution.threads,
            native_code: session.runs_code(),
            compared,
        })?;
    } else {
        show(&named, compared.as_deref())?;
        report::say(&format!("ran in {run_ms:.3} ms"));
    }
    Ok(if failed { Exit::No } else { Exit::Ok })
}

/// Prints the outputs as a table.
fn show(outputs: &[Output<'_>], compared: Option<&[Compared]>) -> Result<(), CliError> {
    let rows = outputs.iter().map(|o| vec![o.name.clone(), crate::io::value_text(&o.value), first(&o.value)]);
    report::print(&report::table(&["output", "type", "first elements"], rows))?;
    if let Some(compared) = compared {
        let rows = compared.iter().map(|c| {
            let verdict = if c.ok { "ok".to_string() } else { "DIFFERS".to_string() };
            let detail = match &c.fault {
                Some(fault) => fault.clone(),
                None if c.ok => String::new(),
                None => format!("{} elements beyond the tolerance", c.wrong),
            };
            vec![c.name.clone(), verdict, format!("{:.3e}", c.max_abs), format!("{:.3e}", c.relative), detail]
        });
        report::print(&report::table(&["compared", "verdict", "max abs", "relative", ""], rows))?;
    }
    Ok(())
}

/// The first elements of a tensor or map, or of the first map of a list.
fn first(v: &Value) -> String {
    match v {
        Value::Tensor(t) => preview(t),
        Value::Map(m) => format!("{} -> {}", preview(m.keys()), preview(m.values())),
        Value::Sequence(list) => match list.first() {
            Some(Value::Map(_)) => first(&list[0]),
            _ => String::new(),
        },
        Value::Optional(_) => String::new(),
    }
}

/// Elements shown of an output.
const SHOWN: usize = 6;

fn preview(t: &Tensor) -> String {
    let view = t.view();
    let n = t.len().min(SHOWN);
    let shown: Vec<String> = match t.dtype() {
        DType::F32 => view.as_slice::<f32>().unwrap_or_default().iter().take(n).map(|v| format!("{v:.5}")).collect(),
        DType::F64 => view.as_slice::<f64>().unwrap_or_default().iter().take(n).map(|v| format!("{v:.5}")).collect(),
        DType::F16 => {
            let all = view.as_slice::<planc_tensor::f16>().unwrap_or_default();
            all.iter().take(n).map(|v| format!("{v:.3}")).collect()
        }
        DType::String => view.as_strings().iter().take(n).map(|s| format!("{s:?}")).collect(),
        _ => view.to_i64().unwrap_or_default().iter().take(n).map(ToString::to_string).collect(),
    };
    let more = if t.len() > shown.len() && !shown.is_empty() { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}
