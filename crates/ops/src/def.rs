//! The form of a row.

use crate::cx::{Decompose, EvalCx, InferCx, LowerCx, Lowered, UpgradeCx};
use crate::error::OpError;
use planc_tensor::{DType, Tensor, View};

/// A set of element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeSet(u32);

impl TypeSet {
    /// The set of `types`.
    pub const fn of(types: &[DType]) -> TypeSet {
        let (mut bits, mut i) = (0, 0);
        while i < types.len() {
            bits |= 1 << types[i] as u32;
            i += 1;
        }
        TypeSet(bits)
    }

    /// Both sets together.
    pub const fn or(self, other: TypeSet) -> TypeSet {
        TypeSet(self.0 | other.0)
    }

    /// The types that are not in `other`.
    pub const fn but(self, other: TypeSet) -> TypeSet {
        TypeSet(self.0 & !other.0)
    }

    /// Whether `t` is in the set.
    pub const fn has(self, t: DType) -> bool {
        self.0 & (1 << t as u32) != 0
    }

    /// The types, by ONNX number.
    pub fn iter(self) -> impl Iterator<Item = DType> {
        DType::ALL.iter().copied().filter(move |t| self.has(*t))
    }

    /// f16, f32, f64, bf16.
    pub const FLOAT: TypeSet = TypeSet::of(&[DType::F32, DType::F16, DType::F64, DType::BF16]);
    /// The 8-bit floats.
    pub const FLOAT8: TypeSet = TypeSet::of(&[DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ]);
    /// Signed integers of 8 to 64 bits.
    pub const SIGNED: TypeSet = TypeSet::of(&[DType::I8, DType::I16, DType::I32, DType::I64]);
    /// Unsigned integers of 8 to 64 bits.
    pub const UNSIGNED: TypeSet = TypeSet::of(&[DType::U8, DType::U16, DType::U32, DType::U64]);
    /// Integers of 8 to 64 bits.
    pub const INT: TypeSet = TypeSet::SIGNED.or(TypeSet::UNSIGNED);
    /// Integers and floats.
    pub const NUMERIC: TypeSet = TypeSet::INT.or(TypeSet::FLOAT);
    /// bool.
    pub const BOOL: TypeSet = TypeSet::of(&[DType::Bool]);
    /// c64 and c128.
    pub const COMPLEX: TypeSet = TypeSet::of(&[DType::C64, DType::C128]);
    /// string.
    pub const STRING: TypeSet = TypeSet::of(&[DType::String]);
    /// i64.
    pub const I64: TypeSet = TypeSet::of(&[DType::I64]);
    /// i32 and i64, the types of indices.
    pub const INDEX: TypeSet = TypeSet::of(&[DType::I32, DType::I64]);
    /// f32.
    pub const F32: TypeSet = TypeSet::of(&[DType::F32]);
    /// u8 and i8.
    pub const BYTE: TypeSet = TypeSet::of(&[DType::U8, DType::I8]);
    /// Everything.
    pub const ALL: TypeSet = TypeSet(u32::MAX);
}

/// How often a parameter occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Exactly once.
    Required,
    /// May be omitted.
    Optional,
    /// The last parameter, one or more times, all of one type.
    Variadic,
    /// The last parameter, any number of times, types free.
    Heterogeneous,
}

/// An operand or result.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name in the ONNX documentation.
    pub name: &'static str,
    /// Type variable: a name of the row's `types`.
    pub ty: &'static str,
    /// How often it occurs.
    pub kind: ParamKind,
}

impl Param {
    /// A required parameter.
    pub const fn req(name: &'static str, ty: &'static str) -> Param {
        Param { name, ty, kind: ParamKind::Required }
    }

    /// An optional parameter.
    pub const fn opt(name: &'static str, ty: &'static str) -> Param {
        Param { name, ty, kind: ParamKind::Optional }
    }

    /// A parameter that repeats, all of one type.
    pub const fn variadic(name: &'static str, ty: &'static str) -> Param {
        Param { name, ty, kind: ParamKind::Variadic }
    }

    /// A parameter that repeats, types free.
    pub const fn hetero(name: &'static str, ty: &'static str) -> Param {
        Param { name, ty, kind: ParamKind::Heterogeneous }
    }
}

/// Kind of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    /// Integer.
    Int,
    /// Float.
    Float,
    /// Text.
    Str,
    /// Integers.
    Ints,
    /// Floats.
    Floats,
    /// Texts.
    Strs,
    /// Tensor (dense or sparse).
    Tensor,
    /// Subgraph.
    Graph,
}

/// What an attribute is when a node does not have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// It must be there.
    Required,
    /// Absence means something of its own.
    None,
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// Text.
    Str(&'static str),
    /// Integers.
    Ints(&'static [i64]),
}

/// An attribute of a row.
#[derive(Clone, Copy, Debug)]
pub struct AttrDef {
    /// Name.
    pub name: &'static str,
    /// Kind of value.
    pub kind: AttrKind,
    /// Value when absent.
    pub default: Default,
    /// First opset that has it.
    pub since: u32,
    /// First opset that has it no more; an upgrade step turns it into what replaced it. Internal attributes, which
    /// only upgrade steps and passes set, have `until` 0.
    pub until: u32,
}

impl AttrDef {
    const fn new(name: &'static str, kind: AttrKind, default: Default) -> AttrDef {
        AttrDef { name, kind, default, since: 1, until: u32::MAX }
    }

    /// An integer with a default.
    pub const fn int(name: &'static str, default: i64) -> AttrDef {
        AttrDef::new(name, AttrKind::Int, Default::Int(default))
    }

    /// A float with a default.
    pub const fn float(name: &'static str, default: f32) -> AttrDef {
        AttrDef::new(name, AttrKind::Float, Default::Float(default))
    }

    /// Text with a default.
    pub const fn str(name: &'static str, default: &'static str) -> AttrDef {
        AttrDef::new(name, AttrKind::Str, Default::Str(default))
    }

    /// An attribute that may be absent.
    pub const fn optional(name: &'static str, kind: AttrKind) -> AttrDef {
        AttrDef::new(name, kind, Default::None)
    }

    /// An attribute that must be there.
    pub const fn required(name: &'static str, kind: AttrKind) -> AttrDef {
        AttrDef::new(name, kind, Default::Required)
    }

    /// Only from this opset on.
    pub const fn since(self, opset: u32) -> AttrDef {
        AttrDef { since: opset, ..self }
    }

    /// Only before this opset.
    pub const fn until(self, opset: u32) -> AttrDef {
        AttrDef { until: opset, ..self }
    }

    /// Set by upgrade steps and passes only, never read from a file.
    pub const fn internal(self) -> AttrDef {
        AttrDef { until: 0, ..self }
    }
}

/// Properties that passes ask for instead of operator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Props(u32);

impl Props {
    /// None.
    pub const NONE: Props = Props(0);
    /// Every result element depends on the operands' elements at its own (broadcast) position only.
    pub const ELEMENTWISE: Props = Props(1);
    /// The two operands may be exchanged.
    pub const COMMUTATIVE: Props = Props(2);
    /// Gives other results on other runs: not folded, not merged.
    pub const RANDOM: Props = Props(4);
    /// The same elements in the same order: only the shape changes.
    pub const RESHAPES: Props = Props(8);

    /// Both.
    pub const fn or(self, other: Props) -> Props {
        Props(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn has(self, other: Props) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Makes a node of an older opset one of opset `to`.
#[derive(Clone, Copy)]
pub struct Upgrade {
    /// The opset whose definition the step produces; applied to nodes of older opsets, in ascending order.
    pub to: u32,
    /// The step.
    pub step: fn(&mut UpgradeCx<'_>) -> Result<(), OpError>,
}

/// Reference evaluation: operands to all results of the row (variadic results: as many as asked for).
pub type EvalFn = fn(&EvalCx<'_>, &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError>;

/// One operator.
#[derive(Clone, Copy)]
pub struct OpDef {
    /// Operator type.
    pub name: &'static str,
    /// Domain; empty for ai.onnx.
    pub domain: &'static str,
    /// First opset version.
    pub since: u32,
    /// First opset version without it.
    pub until: u32,
    /// The sets that the type variables range over.
    pub types: &'static [(&'static str, TypeSet)],
    /// Operands.
    pub inputs: &'static [Param],
    /// Results.
    pub outputs: &'static [Param],
    /// Attributes of all versions.
    pub attrs: &'static [AttrDef],
    /// Steps from old versions to the newest, ascending.
    pub upgrades: &'static [Upgrade],
    /// Properties.
    pub props: Props,
    /// Types and shapes of the results.
    pub infer: fn(&mut InferCx<'_>) -> Result<(), OpError>,
    /// Reference evaluation; `None` for control flow, which the runtime does.
    pub eval: Option<EvalFn>,
    /// The kernel for it.
    pub lower: fn(&LowerCx<'_>) -> Lowered,
    /// Rewriting into other operators, where that is better than a kernel.
    pub decompose: Option<Decompose>,
}

impl OpDef {
    /// What rows start from: an operator of ai.onnx since opset 1 that lowers to its reference evaluation.
    pub const NEW: OpDef = OpDef {
        name: "",
        domain: "",
        since: 1,
        until: u32::MAX,
        types: &[],
        inputs: &[],
        outputs: &[],
        attrs: &[],
        upgrades: &[],
        props: Props::NONE,
        infer: |_| Err(OpError::unsupported("no inference")),
        eval: None,
        lower: |_| Lowered::Reference,
        decompose: None,
    };

    /// The attribute's row.
    pub fn attr(&self, name: &str) -> Option<&'static AttrDef> {
        self.attrs.iter().find(|a| a.name == name)
    }

    /// The set that type variable `ty` ranges over.
    pub fn type_set(&self, ty: &str) -> TypeSet {
        self.types.iter().find(|(n, _)| *n == ty).map_or(TypeSet::ALL, |(_, s)| *s)
    }

    /// The parameter that operand `i` is, `None` past the last.
    pub fn input(&self, i: usize) -> Option<&'static Param> {
        param(self.inputs, i)
    }

    /// The parameter that result `i` is, `None` past the last.
    pub fn output(&self, i: usize) -> Option<&'static Param> {
        param(self.outputs, i)
    }
}

fn param(params: &'static [Param], i: usize) -> Option<&'static Param> {
    params.get(i).or_else(|| params.last().filter(|p| matches!(p.kind, ParamKind::Variadic | ParamKind::Heterogeneous)))
}
