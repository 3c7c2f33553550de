//! The text of a module. The only place where PTX is formatted.

use super::types::{Class, Needs, Operand, Reg};
use super::{Inst, Kernel, Module, Stmt};
use std::fmt::Write;

/// The text of a verified module.
pub(super) fn module(m: &Module) -> String {
    let base = Needs::new(0, Needs::version_of(m.arch).unwrap_or(Needs::BASE.version));
    let (major, minor) = m.kernels.iter().fold(base, |n, k| n.and(k.needs())).version;
    let mut out = format!(".version {major}.{minor}\n.target {}\n.address_size 64\n", m.arch);
    if m.kernels.iter().any(|k| k.dynamic_shared) {
        out.push_str("\n.extern .shared .align 128 .b8 dynamic[];\n");
    }
    for k in &m.kernels {
        kernel(k, &mut out);
    }
    out
}

/// The text of one kernel.
pub(super) fn kernel(k: &Kernel, out: &mut String) {
    let params: Vec<String> =
        k.params.iter().enumerate().map(|(i, t)| format!("\n    .param .{} p{i}", t.name())).collect();
    let [x, y, z] = k.threads;
    // Writing to a string cannot fail.
    let _ = write!(out, "\n.visible .entry {}({}\n)\n.maxntid {x}, {y}, {z}\n", k.name, params.join(","));
    if let Some(n) = k.min_blocks {
        let _ = writeln!(out, ".minnctapersm {n}");
    }
    out.push_str("{\n");
    for (class, n) in Class::ALL.iter().zip(k.registers).filter(|(_, n)| *n > 0) {
        let _ = writeln!(out, "    .reg .{} {}<{n}>;", class.ty().name(), class.prefix());
    }
    for (i, (bytes, align)) in k.shared.iter().enumerate() {
        let _ = writeln!(out, "    .shared .align {align} .b8 shared{i}[{bytes}];");
    }
    let mut p = Printer { out, labels: 0, ends: vec![] };
    p.block(&k.body);
    out.push_str("    ret;\n}\n");
}

/// The text of an instruction.
pub(super) fn inst(i: &Inst) -> String {
    let mut text = match i.guard {
        Some((p, negate)) => format!("@{}{} ", if negate { "!" } else { "" }, reg(p)),
        None => String::new(),
    };
    text.push_str(&i.op.mnemonic());
    let signature = i.op.signature();
    let mut parts = vec![];
    let (mut dst, mut src) = (i.dst.iter(), i.src.iter());
    for group in &signature.dst {
        let of: Vec<String> = dst.by_ref().take(group.len()).map(|r| reg(*r)).collect();
        parts.push(braces(of));
    }
    for group in &signature.src {
        let of: Vec<String> = src.by_ref().take(group.len()).map(operand).collect();
        parts.push(braces(of));
    }
    if let (at, Some(constant)) = i.op.constants() {
        parts.insert(at.min(parts.len()), constant);
    }
    if !parts.is_empty() {
        text.push(' ');
        text.push_str(&parts.join(", "));
    }
    text
}

fn braces(of: Vec<String>) -> String {
    if of.len() > 1 { format!("{{{}}}", of.join(", ")) } else { of.concat() }
}

fn reg(r: Reg) -> String {
    format!("{}{}", r.class.prefix(), r.index)
}

fn operand(o: &Operand) -> String {
    match o {
        Operand::Reg(r) => reg(*r),
        Operand::Int(v) => v.to_string(),
        Operand::F32(v) => format!("0f{v:08X}"),
        Operand::F64(v) => format!("0d{v:016X}"),
        Operand::Addr(a) if a.offset == 0 => format!("[{}]", reg(a.base)),
        Operand::Addr(a) => format!("[{}{:+}]", reg(a.base), a.offset),
        Operand::Param(n) => format!("[p{n}]"),
        Operand::Shared(s) => format!("shared{}", s.0),
        Operand::Dynamic => "dynamic".into(),
    }
}

struct Printer<'o> {
    out: &'o mut String,
    labels: u32,
    /// Labels behind the loops around here.
    ends: Vec<u32>,
}

impl Printer<'_> {
    fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels - 1
    }

    fn line(&mut self, text: &str) {
        self.out.push_str("    ");
        self.out.push_str(text);
        self.out.push_str(";\n");
    }

    fn place(&mut self, label: u32) {
        let _ = writeln!(self.out, "L{label}:");
    }

    fn jump(&mut self, cond: Reg, negate: bool, label: u32) {
        self.line(&format!("@{}{} bra L{label}", if negate { "!" } else { "" }, reg(cond)));
    }

    fn block(&mut self, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Inst(i) => self.line(&inst(i)),
                Stmt::If { cond, negate, then, other } => {
                    let end = self.label();
                    if other.is_empty() {
                        self.jump(*cond, !negate, end);
                        self.block(then);
                    } else {
                        let otherwise = self.label();
                        self.jump(*cond, !negate, otherwise);
                        self.block(then);
                        self.line(&format!("bra L{end}"));
                        self.place(otherwise);
                        self.block(other);
                    }
                    self.place(end);
                }
                Stmt::Loop(body) => {
                    let (start, end) = (self.label(), self.label());
                    self.ends.push(end);
                    self.place(start);
                    self.block(body);
                    self.line(&format!("bra L{start}"));
                    self.place(end);
                    self.ends.pop();
                }
                Stmt::BreakIf(cond, negate) => {
                    // The verifier refuses it outside of loops.
                    let end = self.ends.last().copied().unwrap_or_default();
                    self.jump(*cond, *negate, end);
                }
                Stmt::Exit => self.line("ret"),
            }
        }
    }
}
