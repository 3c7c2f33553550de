//! SequenceConstruct: a sequence of the operands.

use crate::sequences::{join, packed};
use crate::{OpDef, Param, TypeSet, operand};
use planc_ir::Type;

/// The row of SequenceConstruct.
pub const OP: OpDef = OpDef {
    name: "SequenceConstruct",
    since: 11,
    types: &[("T", TypeSet::ALL), ("S", TypeSet::ALL)],
    inputs: &[Param::variadic("inputs", "T")],
    outputs: &[Param::req("output_sequence", "S")],
    infer: |cx| {
        let mut ty: Type = cx.tensor(0)?.clone().into();
        for i in 1..cx.input_count() {
            ty = join(cx, &ty, &cx.tensor(i)?.clone().into())?;
        }
        cx.set(0, Type::Sequence(Box::new(ty)));
        Ok(())
    },
    eval: Some(|_, inputs| {
        let tensors = (0..inputs.len()).map(|i| Ok(operand(inputs, i)?.to_tensor()));
        Ok(packed(tensors.collect::<Result<_, crate::OpError>>()?))
    }),
    ..OpDef::NEW
};
