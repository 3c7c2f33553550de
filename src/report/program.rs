//! The programs of a plan as text, for reading and for diffs.
//!
//! Guarantees: values are named as in the plan and weights by the hash of their content, so that equal plans give equal
//! text and a change moves no other line. Deliberately absent: offsets, sizes of sections, anything of the host.

use planc_kir::Kernel;
use planc_plan::container::SectionKind;
use planc_plan::program::{Action, Program, Step, Storage, ValueDecl, ValueIx};
use planc_runtime::Plan;
use planc_tensor::Attr;
use std::fmt::Write;

/// The text of all programs.
pub fn text(plan: &Plan) -> String {
    let weights = plan.container().ok().and_then(|c| c.section(SectionKind::Weights)).unwrap_or_default();
    let mut out = String::new();
    let manifest = plan.manifest();
    for (i, p) in manifest.programs.iter().enumerate() {
        let name = if i == 0 { name(&manifest.name) } else { format!("program.{i}") };
        let _ = writeln!(out, "program @{name} (format 1) {{");
        program(&mut out, p, weights);
        out.push_str("}\n");
    }
    out
}

fn program(out: &mut String, p: &Program, weights: &[u8]) {
    for v in &p.inputs {
        let _ = writeln!(out, "  in {}", typed(p, *v));
    }
    for (i, v) in p.values.iter().enumerate() {
        if let Storage::Weight { offset, len } | Storage::Strings { offset, len } = v.storage {
            let range = offset as usize..(offset + len) as usize;
            let hash = blake3::hash(weights.get(range).unwrap_or_default()).to_hex();
            let _ = writeln!(out, "  const {} = #{}", typed(p, i as ValueIx), &hash[..16]);
        }
    }
    for s in &p.steps {
        let _ = writeln!(out, "  {}", step(p, s));
    }
    for v in &p.outputs {
        let _ = writeln!(out, "  out {}", value(p, *v));
    }
}

fn step(p: &Program, s: &Step) -> String {
    let results: Vec<String> = s.outputs.iter().map(|v| v.map_or("_".into(), |v| typed(p, v))).collect();
    let operands: Vec<String> = s.inputs.iter().map(|v| v.map_or("_".into(), |v| value(p, v))).collect();
    format!("{} = {}({})", results.join(", "), action(&s.action), operands.join(", "))
}

/// What a step does, in one line.
pub fn action(action: &Action) -> String {
    match action {
        Action::Kernel { kernel, epilogue, code } => {
            let mut text = match kernel {
                Kernel::Map(expr) => format!("map[{expr}]"),
                Kernel::Reference(r) if r.attrs.is_empty() => format!("reference[{}]", r.name),
                Kernel::Reference(r) => {
                    let attrs: Vec<String> = r.attrs.iter().map(|(n, a)| format!("{n}={}", attribute(a))).collect();
                    format!("reference[{} {{{}}}]", r.name, attrs.join(", "))
                }
                _ => parameters(kernel),
            };
            if let Some(e) = epilogue {
                let _ = write!(text, " epilogue[{e}]");
            }
            if let Some(code) = code {
                let _ = write!(text, " code[{code}]");
            }
            text
        }
        Action::If { then_program, else_program, .. } => {
            format!("if[program.{then_program} else program.{else_program}]")
        }
        Action::Loop { body, carried } => format!("loop[program.{body}, {carried} carried]"),
        Action::Scan { body, carried, .. } => format!("scan[program.{body}, {carried} carried]"),
    }
}

/// A kernel as its name and parameters.
fn parameters(kernel: &Kernel) -> String {
    match serde_json::to_value(kernel) {
        Ok(serde_json::Value::Object(fields)) => {
            let inner: Vec<String> = fields.values().map(ToString::to_string).collect();
            format!("{}[{}]", kernel.name(), inner.join(", "))
        }
        _ => kernel.name().into(),
    }
}

/// An attribute's value; a tensor is named by its content.
fn attribute(a: &Attr) -> String {
    match a {
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => format!("{v:?}"),
        Attr::Str(v) => format!("{v:?}"),
        Attr::Ints(v) => format!("{v:?}"),
        Attr::Floats(v) => format!("{v:?}"),
        Attr::Strs(v) => format!("{v:?}"),
        Attr::Tensor(t) => format!("{} #{}", crate::io::type_text(t), planc_ir::text::content_hash(t)),
    }
}

fn value(p: &Program, v: ValueIx) -> String {
    format!("%{}", p.values.get(v as usize).map(|v| name(&v.name)).unwrap_or_default())
}

fn typed(p: &Program, v: ValueIx) -> String {
    let Some(ValueDecl { name: n, layout, storage, .. }) = p.values.get(v as usize) else { return value(p, v) };
    let mut text = format!("%{}: {}", name(n), crate::io::inputs::decl_text(&p.values[v as usize]));
    if *layout != planc_tensor::Layout::RowMajor {
        let _ = write!(text, "@{layout}");
    }
    match storage {
        Storage::Pool => text.push_str(" pool"),
        Storage::Alias(of) => {
            let _ = write!(text, " alias {}", value(p, *of));
        }
        _ => {}
    }
    text
}

/// A name, quoted where it is not made of letters, digits and `_ . / -`.
fn name(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    if !text.is_empty() && text.chars().all(bare) { text.to_string() } else { format!("{text:?}") }
}
