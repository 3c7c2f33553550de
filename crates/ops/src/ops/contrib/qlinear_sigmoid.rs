//! com.microsoft.QLinearSigmoid: Sigmoid of a quantised operand, with a quantised result.

use super::qlinear_leaky_relu;
use crate::OpDef;
use crate::rebuild::Rebuild;

/// The row of QLinearSigmoid, whose nodes become DequantizeLinear, Sigmoid and QuantizeLinear.
pub const OP: OpDef = OpDef {
    name: "QLinearSigmoid",
    attrs: &[],
    eval: None,
    lower: |_| crate::Lowered::Reference,
    decompose: Some(|graph, id| {
        let mut r = Rebuild::new(graph, id);
        let (x, x_scale, y_scale) = (r.operand(0)?, r.operand(1)?, r.operand(3)?);
        let (x_zero, y_zero, dtype) = (r.node.input(2), r.node.input(4), r.dtype(x));
        let real = r.real(x, x_scale, x_zero, "real")?;
        let y = r.op("Sigmoid", &[real], &[], "sigmoid")?;
        Ok(vec![Some(r.codes(y, y_scale, y_zero, dtype)?)])
    }),
    ..qlinear_leaky_relu::OP
};
