//! `planc inspect`: what is in a model or plan.

use crate::Outcome;
use crate::args::verbs::Inspect;
use crate::driver::passes::{Narrowed, NarrowedSummary};
use crate::driver::{self, Model};
use crate::error::{CliError, Exit, Fault};
use crate::io::inputs;
use crate::report::{self, Progress, program};
use crate::source::{self, Kind};
use planc_ir::text::Header;
use planc_ir::{Graph, ValueId};
use planc_kir::Kernel;
use planc_plan::container::SectionKind;
use planc_plan::launch::Module;
use planc_plan::program::{Action, PackedType, Storage, ValueDecl};
use planc_runtime::{OpenOptions, Plan};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// An input or output.
#[derive(Serialize)]
struct Port {
    name: String,
    dtype: String,
    /// Extents as text, free ones by name; absent when the rank is unknown.
    shape: Option<Vec<String>>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct Section {
    kind: String,
    offset: usize,
    bytes: usize,
    blake3: String,
}

/// Prints what is in a model or plan.
///
/// # Errors
/// When it cannot be read.
pub fn run(args: &Inspect) -> Outcome {
    match source::kind(&args.path)? {
        Kind::Plan => {
            let plan = Plan::open(&args.path, OpenOptions::default());
            inspect_plan(args, &plan.map_err(|e| CliError::from(e).reading(&args.path))?)?;
        }
        Kind::Model => inspect_model(args)?,
        Kind::Ir => {
            let (graph, header) = super::diff::read_ir(&args.path)?;
            if args.dot {
                report::print(&planc_ir::dot(&graph))?;
            } else if args.ir {
                report::print(&planc_ir::text::print(&graph, &header))?;
            } else {
                summary(args, &graph, json!({"opset": header.opset, "after": header.after}))?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn inspect_plan(args: &Inspect, plan: &Plan) -> Result<(), CliError> {
    if args.dot {
        return Err(CliError::new(Fault::Usage, "--dot shows graphs, not plans").help("give the model"));
    }
    if args.ir {
        return report::print(&program::text(plan));
    }
    let container = plan.container()?;
    let port = |(d, packed): (&ValueDecl, Option<&PackedType>)| {
        let text = inputs::Port { decl: d, packed }.text();
        Port {
            name: d.name.clone(),
            dtype: packed.map_or_else(|| d.dtype.to_string(), |_| text.clone()),
            shape: d.shape.as_ref().map(|s| s.iter().map(ToString::to_string).collect()),
            text,
        }
    };
    let inputs: Vec<Port> = plan.inputs().zip(plan.packed_inputs()).map(port).collect();
    let outputs: Vec<Port> = plan.outputs().zip(plan.packed_outputs()).map(port).collect();
    let sections = container.sections().iter().map(|s| Section {
        kind: s.kind.to_string(),
        offset: s.range.start,
        bytes: s.range.len(),
        blake3: report::hex(&s.hash),
    });
    let sections: Vec<Section> = sections.collect();
    let steps: usize = plan.manifest().programs.iter().map(|p| p.steps.len()).sum();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for step in plan.manifest().programs.iter().flat_map(|p| &p.steps) {
        let text = program::action(&step.action);
        *kinds.entry(text.split('[').next().unwrap_or_default().to_string()).or_insert(0) += 1;
    }
    let weights_bytes = container.section(SectionKind::Weights).map_or(0, <[u8]>::len);
    let arena_bytes = plan.arena_bytes(&|_| None);
    let device = device(plan);
    let provenance: Value =
        container.section(SectionKind::Provenance).and_then(|s| serde_json::from_slice(s).ok()).unwrap_or_default();
    let decisions: Value =
        container.section(SectionKind::Decisions).and_then(|s| serde_json::from_slice(s).ok()).unwrap_or_default();
    let narrowed: Vec<Narrowed> = serde_json::from_value(decisions["narrowed"].clone()).unwrap_or_default();
    let narrowed = NarrowedSummary::of(&narrowed);
    if args.json {
        return report::print_json(&json!({
            "kind": "plan",
            "name": plan.manifest().name,
            "inputs": inputs,
            "outputs": outputs,
            "targets": provenance["flags"]["target"],
            "programs": plan.manifest().programs.len(),
            "steps": steps,
            "step_kinds": kinds,
            "weights_bytes": weights_bytes,
            "weights": narrowed,
            "arena_bytes": arena_bytes,
            "device": device,
            "sections": sections,
            "content_digest": report::hex(&container.content_digest()),
            "provenance": provenance,
        }));
    }
    let arena = arena_bytes.map_or("depends on the inputs' shapes".into(), report::bytes);
    let mut text = format!(
        "plan {:?}, {} steps, weights {}, arena {arena}\n",
        plan.manifest().name,
        steps,
        report::bytes(weights_bytes as u64)
    );
    narrowed.iter().for_each(|n| text += &format!("{}\n", n.line()));
    text += &ports(&inputs, &outputs);
    text += &report::table(&["step", "count"], kinds.into_iter().map(|(k, n)| vec![k, n.to_string()]));
    if let Some(d) = &device {
        text += &format!("device {}, {} launches, {} copies\n", d.arch, d.launches, d.copies);
        text += &report::table(&["host step", "kernel"], d.host.iter().map(|(s, k)| vec![s.clone(), k.clone()]));
    }
    let rows =
        sections.iter().map(|s| vec![s.kind.clone(), s.offset.to_string(), s.bytes.to_string(), s.blake3[..16].into()]);
    text += &report::table(&["section", "offset", "bytes", "blake3"], rows);
    text += &format!("provenance {provenance:#}\n");
    report::print(&text)
}

/// What a plan does on a device.
#[derive(Serialize)]
struct OnDevice {
    arch: String,
    /// Launches of kernels in one walk over all steps.
    launches: usize,
    /// Steps that run on the host: name and kernel.
    host: Vec<(String, String)>,
    /// Values that are copied between the two, inputs and outputs among them.
    copies: usize,
}

/// What `plan` does on a device, if it is for one.
fn device(plan: &Plan) -> Option<OnDevice> {
    let container = plan.container().ok()?;
    let kind = container.sections().iter().map(|s| s.kind).find(|k| matches!(k, SectionKind::Ptx(_)))?;
    let SectionKind::Ptx(arch) = kind else { return None };
    let module = Module::parse(container.section(kind)?, plan.manifest()).ok()?;
    let mut all = OnDevice { arch: arch.to_string(), launches: 0, host: vec![], copies: 0 };
    for p in &plan.manifest().programs {
        // Of each value: whether its bytes are on the host, and on the device.
        let mut places = vec![(false, false); p.values.len()];
        for (place, v) in places.iter_mut().zip(&p.values) {
            *place = match v.storage {
                Storage::Weight { .. } | Storage::Strings { .. } => (true, true),
                _ => (true, false),
            };
        }
        for s in &p.steps {
            let code = match s.action {
                Action::Kernel { kernel: Kernel::Reshape, .. } => {
                    let from = s.inputs.first().copied().flatten().map(|v| places[v as usize]);
                    let to = s.outputs.iter().flatten();
                    to.for_each(|v| places[*v as usize] = from.unwrap_or((true, false)));
                    continue;
                }
                Action::Kernel { code, .. } => code,
                _ => None,
            };
            match code {
                Some(n) => all.launches += module.steps.get(n as usize).map_or(0, |d| d.launches.len()),
                None => all.host.push((s.name.clone(), program::action(&s.action))),
            }
            for v in s.inputs.iter().flatten() {
                let (host, device) = &mut places[*v as usize];
                let there = if code.is_some() { device } else { host };
                all.copies += usize::from(!std::mem::replace(there, true));
            }
            s.outputs.iter().flatten().for_each(|v| places[*v as usize] = (code.is_none(), code.is_some()));
        }
        all.copies += p.outputs.iter().filter(|v| !places[**v as usize].0).count();
    }
    Some(all)
}

fn inspect_model(args: &Inspect) -> Result<(), CliError> {
    let Model { graph, metadata: m, warnings, .. } = import(&args.path, args)?;
    if args.dot {
        return report::print(&planc_ir::dot(&graph));
    }
    if args.ir {
        let opset = m.opsets.iter().find(|(d, _)| d.is_empty()).map(|(_, v)| *v);
        return report::print(&planc_ir::text::print(&graph, &Header { opset, after: None }));
    }
    warnings.iter().for_each(|w| report::warn(w));
    let opsets: BTreeMap<&str, u32> =
        m.opsets.iter().map(|(d, v)| (if d.is_empty() { "ai.onnx" } else { d.as_str() }, *v)).collect();
    let metadata = json!({
        "ir_version": m.ir_version,
        "opsets": opsets,
        "producer": m.producer_name,
        "producer_version": m.producer_version,
        "domain": m.domain,
        "model_version": m.model_version,
        "properties": m.properties.iter().cloned().collect::<BTreeMap<_, _>>(),
        "inlined_functions": m.inlined_functions.iter().cloned().collect::<BTreeMap<_, _>>(),
        "default_inputs": m.default_inputs,
    });
    summary(args, &graph, metadata)
}

fn import(path: &Path, args: &Inspect) -> Result<Model, CliError> {
    driver::import(path, &driver::Options::new(&args.compilation)?, &Progress::new(args.json))
}

/// Counts nodes by operator, those of subgraphs included.
fn count(graph: &Graph, ops: &mut BTreeMap<String, usize>) {
    for id in graph.node_ids() {
        let node = graph.node(id);
        *ops.entry(node.op.to_string()).or_insert(0) += 1;
        node.subgraphs.iter().for_each(|s| count(&s.graph, ops));
    }
}

fn summary(args: &Inspect, graph: &Graph, metadata: Value) -> Result<(), CliError> {
    let port = |v: &ValueId| {
        let (value, tensor) = (graph.value(*v), graph.tensor_type(*v));
        let shape = tensor.and_then(|t| t.shape.as_ref()).map(|s| s.iter().map(ToString::to_string).collect());
        let dtype = tensor.map_or_else(|| value.ty.to_string(), |t| t.dtype.to_string());
        Port { name: value.name.to_string(), dtype, shape, text: value.ty.to_string() }
    };
    let inputs: Vec<Port> = graph.inputs().iter().map(port).collect();
    let outputs: Vec<Port> = graph.outputs().iter().map(port).collect();
    let mut ops = BTreeMap::new();
    count(graph, &mut ops);
    let constants: usize = graph
        .value_ids()
        .filter(|v| !graph.uses(*v).is_empty())
        .filter_map(|v| graph.constant(v))
        .map(|t| t.byte_len())
        .sum();
    if args.json {
        return report::print_json(&json!({
            "kind": "graph",
            "name": graph.name,
            "inputs": inputs,
            "outputs": outputs,
            "nodes": ops.values().sum::<usize>(),
            "ops": ops,
            "weights_bytes": constants,
            "metadata": metadata,
        }));
    }
    let nodes: usize = ops.values().sum();
    let mut text = format!("graph {:?}, {nodes} nodes, constants {}\n", graph.name, report::bytes(constants as u64));
    text += &ports(&inputs, &outputs);
    text += &report::table(&["operator", "nodes"], ops.into_iter().map(|(op, n)| vec![op, n.to_string()]));
    text += &format!("metadata {metadata:#}\n");
    report::print(&text)
}

fn ports(inputs: &[Port], outputs: &[Port]) -> String {
    let row = |what: &str, p: &Port| vec![what.to_string(), p.name.clone(), p.text.clone()];
    let rows = inputs.iter().map(|p| row("input", p)).chain(outputs.iter().map(|p| row("output", p)));
    report::table(&["port", "name", "type"], rows)
}
