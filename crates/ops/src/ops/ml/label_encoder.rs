//! LabelEncoder: each element replaced by what a table says, or by a default.

use crate::floats::widen;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, Upgrade, operand};
use planc_ir::Attrs;
use planc_tensor::{Attr, DType, Tensor, View};
use std::collections::HashMap;

const LABELS: TypeSet = TypeSet::of(&[DType::String, DType::I64, DType::F32, DType::I32, DType::I16, DType::F64]);

/// The row of LabelEncoder.
pub const OP: OpDef = OpDef {
    name: "LabelEncoder",
    domain: "ai.onnx.ml",
    types: &[("T1", LABELS), ("T2", LABELS)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    attrs: &[
        AttrDef::optional("classes_strings", AttrKind::Strs).until(2),
        AttrDef::float("default_float", -0.0).since(2),
        AttrDef::int("default_int64", -1),
        AttrDef::str("default_string", "_Unused"),
        AttrDef::optional("default_tensor", AttrKind::Tensor).since(4),
        AttrDef::optional("keys_floats", AttrKind::Floats).since(2),
        AttrDef::optional("keys_int64s", AttrKind::Ints).since(2),
        AttrDef::optional("keys_strings", AttrKind::Strs).since(2),
        AttrDef::optional("keys_tensor", AttrKind::Tensor).since(4),
        AttrDef::optional("values_floats", AttrKind::Floats).since(2),
        AttrDef::optional("values_int64s", AttrKind::Ints).since(2),
        AttrDef::optional("values_strings", AttrKind::Strs).since(2),
        AttrDef::optional("values_tensor", AttrKind::Tensor).since(4),
    ],
    upgrades: &[Upgrade {
        to: 2,
        // The operand's type says whether classes are looked up by name or by number.
        step: |cx| {
            let Some(Attr::Strs(classes)) = cx.attrs.take("classes_strings") else { return Ok(()) };
            let numbers: Vec<i64> = (0..classes.len() as i64).collect();
            let by_name = cx.inputs.first().copied().flatten().and_then(|v| cx.graph.tensor_type(v));
            if by_name.is_some_and(|t| t.dtype == DType::String) {
                cx.attrs.set("keys_strings", classes);
                cx.attrs.set("values_int64s", numbers);
            } else {
                cx.attrs.set("keys_int64s", numbers);
                cx.attrs.set("values_strings", classes);
            }
            Ok(())
        },
    }],
    infer: |cx: &mut InferCx<'_>| {
        let (keys, values, _) = table(cx.attrs())?;
        if cx.dtype(0)? != keys.dtype() {
            return Err(OpError::type_(format!("keys are {}, the operand is {}", keys.dtype(), cx.dtype(0)?)));
        }
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, values.dtype(), shape);
        Ok(())
    },
    eval: Some(eval),
    ..OpDef::NEW
};

/// Keys, values and default.
fn table(attrs: &Attrs) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let list = |what: &str| {
        let name = |kind: &str| format!("{what}_{kind}");
        if let Some(v) = attrs.strs(&name("strings")) {
            return Tensor::from_strings(vec![v.len()], v.to_vec()).ok();
        }
        let numbers = attrs.ints(&name("int64s")).map(|v| Tensor::vector(v.to_vec()));
        let floats = || attrs.floats(&name("floats")).map(|v| Tensor::vector(v.to_vec()));
        numbers.or_else(floats).or_else(|| attrs.tensor(&name("tensor")).cloned())
    };
    let missing = |what: &str| OpError::attribute(format!("there are no {what}"));
    let (keys, values) =
        (list("keys").ok_or_else(|| missing("keys"))?, list("values").ok_or_else(|| missing("values"))?);
    if keys.len() != values.len() {
        return Err(OpError::attribute(format!("there are {} keys and {} values", keys.len(), values.len())));
    }
    let default = match attrs.tensor("default_tensor") {
        Some(t) if t.dtype() == values.dtype() && t.len() == 1 => t.clone(),
        Some(t) => {
            return Err(OpError::attribute(format!("the default {} is not one of {}", t.dtype(), values.dtype())));
        }
        None => match values.dtype() {
            DType::String => {
                let text = attrs.str("default_string").unwrap_or("_Unused");
                Tensor::from_strings(vec![1], vec![text.to_string()])?
            }
            DType::I64 => Tensor::vector(vec![attrs.int("default_int64").unwrap_or(-1)]),
            DType::F32 => Tensor::vector(vec![attrs.float("default_float").unwrap_or(-0.0)]),
            other => Tensor::zeros(other, vec![1])?,
        },
    };
    Ok((keys, values, default))
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (keys, values, default) = table(cx.attrs())?;
    if x.dtype() != keys.dtype() {
        return Err(OpError::type_(format!("keys are {}, the operand is {}", keys.dtype(), x.dtype())));
    }
    // Of repeated keys the last counts.
    let found: Vec<Option<usize>> = if x.dtype() == DType::String {
        let keys = keys.view();
        let table: HashMap<&str, usize> = keys.as_strings().iter().enumerate().map(|(i, k)| (k.as_str(), i)).collect();
        x.as_strings().iter().map(|s| table.get(s.as_str()).copied()).collect()
    } else {
        // All NaNs are one key, and so are the zeros.
        let bits = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { (v + 0.0).to_bits() };
        let keys = widen(keys.view())?;
        let table: HashMap<u64, usize> = keys.into_iter().enumerate().map(|(i, k)| (bits(k), i)).collect();
        widen(x)?.into_iter().map(|v| table.get(&bits(v)).copied()).collect()
    };
    cx.reserve(values.dtype(), x.shape())?;
    let all = match (values.view().as_strings(), default.view().as_strings()) {
        (v, [d]) => {
            let text = found.into_iter().map(|i| i.map_or_else(|| d.clone(), |i| v[i].clone()));
            return Ok(vec![Tensor::from_strings(x.shape(), text.collect())?]);
        }
        _ => (values.view(), default.view()),
    };
    crate::dispatch_all!(values.dtype(), T => {
        let (v, d) = (crate::elementwise::elements::<T>(all.0)?, crate::elementwise::elements::<T>(all.1)?);
        let picked = found.into_iter().map(|i| i.map_or(d[0], |i| v[i]));
        Ok(vec![Tensor::new(x.shape(), picked.collect())?])
    }, Err(OpError::type_(format!("does not give {}", values.dtype()))))
}
