//! What every row of the table has to be, whatever the operator.

use planc_ops::{AttrKind, Default, OpDef, Param, ParamKind, Props, all, find};
use std::collections::BTreeSet;

/// The faults of a row.
fn faults(row: &OpDef) -> Vec<String> {
    let mut found = vec![];
    let mut check = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{}: {what}", row.name));
        }
    };
    check(row.since < row.until, "there is no opset with it");
    check(row.eval.is_some() || row.decompose.is_some() || is_control(row), "nothing can run it");
    check(row.upgrades.windows(2).all(|w| w[0].to < w[1].to), "upgrades are not in ascending order");
    check(!row.props.has(Props::COMMUTATIVE) || row.inputs.len() == 2, "commutes without two operands");
    for params in [row.inputs, row.outputs] {
        let repeats = |p: &Param| matches!(p.kind, ParamKind::Variadic | ParamKind::Heterogeneous);
        check(params.iter().rev().skip(1).all(|p| !repeats(p)), "a parameter that repeats is not the last");
        let names: BTreeSet<&str> = params.iter().map(|p| p.name).collect();
        check(names.len() == params.len(), "two parameters have one name");
    }
    let names: BTreeSet<&str> = row.attrs.iter().map(|a| a.name).collect();
    check(names.len() == row.attrs.len(), "two attributes have one name");
    for a in row.attrs {
        let fits = match a.default {
            Default::Required | Default::None => true,
            Default::Int(_) => a.kind == AttrKind::Int,
            Default::Float(_) => a.kind == AttrKind::Float,
            Default::Str(_) => a.kind == AttrKind::Str,
            Default::Ints(_) => a.kind == AttrKind::Ints,
        };
        check(fits, &format!("attribute {} has a default of another kind", a.name));
    }
    found
}

fn is_control(row: &OpDef) -> bool {
    row.attrs.iter().any(|a| a.kind == AttrKind::Graph)
}

#[test]
fn rows_are_well_formed() {
    let found: Vec<String> = all().flat_map(faults).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_row_is_found_by_its_name_alone() {
    let mut seen = BTreeSet::new();
    for row in all() {
        assert!(seen.insert((row.domain, row.name)), "{} has two rows", row.name);
        assert!(find(row.domain, row.name).is_some_and(|r| r.name == row.name), "{}", row.name);
    }
    assert!(find("ai.onnx", "Relu").is_some() && find("", "Rellu").is_none());
}
