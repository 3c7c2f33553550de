//! One run of one program: where its values are, and its steps one after the other.

use crate::arena::Placement;
use crate::code;
use crate::cuda::DeviceFrame;
use crate::error::RunError;
use crate::plan::Weight;
use crate::profile::{Recorder, StepTime};
use crate::session::{Observer, Session, Workspace};
use crate::symbols::Symbols;
use planc_kernels::dispatch::{self, Cx, Operand, Output};
use planc_kir::{Expr, Kernel};
use planc_plan::program::{Action, Program, Step, Storage, ValueDecl};
use planc_tensor::{AlignedBuf, Bytes, DType, Layout, Tensor, View, ViewData, element_count};
use std::borrow::Cow;

/// A run of a whole plan: what all its frames share.
pub(crate) struct Run<'s> {
    pub(crate) session: &'s Session,
    recorder: Option<&'s Recorder<'s>>,
    observer: Option<Observer<'s>>,
}

/// The bytes of a value that exists.
enum Data<'a> {
    /// In the arena: offset and length.
    Arena(usize, usize),
    /// Somewhere that outlives the frame: an input, a weight.
    Borrowed(ViewData<'a>),
    /// A tensor of its own.
    Tensor(Tensor),
    /// A buffer of its own in a layout other than row-major.
    Buffer(AlignedBuf),
    /// Those of another value.
    Same(u32),
    /// On the device only.
    Device,
}

/// A value that exists.
struct Slot<'a> {
    shape: Cow<'a, [usize]>,
    data: Data<'a>,
}

/// The values of a program while it runs, as the host sees them.
struct Values<'a> {
    program: &'a Program,
    placement: &'a Placement,
    arena: Arena,
    slots: Vec<Option<Slot<'a>>>,
}

/// A program while it runs.
pub(crate) struct Frame<'a> {
    pub(crate) run: &'a Run<'a>,
    index: usize,
    pub(crate) symbols: Symbols,
    values: Values<'a>,
    device: Option<DeviceFrame<'a>>,
}

/// The arena of a frame. All access goes through ranges of one [`Placement`].
#[derive(Clone, Copy)]
struct Arena {
    base: *mut u8,
    len: usize,
}

impl Arena {
    /// # Safety
    /// The memory must be alive and nobody may write to the range while the slice lives.
    unsafe fn slice<'b>(self, offset: usize, len: usize) -> &'b [u8] {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "this is a bug: outside the arena");
        // SAFETY: within the allocation as just checked, initialised (it was zeroed), not written by the contract.
        unsafe { std::slice::from_raw_parts(self.base.add(offset), len) }
    }

    /// # Safety
    /// The memory must be alive and nobody else may touch the range while the slice lives.
    unsafe fn slice_mut<'b>(self, offset: usize, len: usize) -> &'b mut [u8] {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "this is a bug: outside the arena");
        // SAFETY: within the allocation as just checked, initialised, exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(offset), len) }
    }
}

impl<'s> Run<'s> {
    pub(crate) fn new(
        session: &'s Session,
        recorder: Option<&'s Recorder<'s>>,
        observer: Option<Observer<'s>>,
    ) -> Run<'s> {
        Run { session, recorder, observer }
    }

    /// Runs the model on the caller's inputs.
    pub(crate) fn main(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, RunError> {
        let want = self.session.plan.main().inputs.len();
        if inputs.len() != want {
            return Err(RunError::Input(format!("{} inputs were given, the plan takes {want}", inputs.len())));
        }
        self.program(0, inputs, &Symbols::default())
    }

    /// Runs a program; its extents may be those of `outer` and of its own inputs.
    pub(crate) fn program(&self, index: usize, inputs: &[View<'_>], outer: &Symbols) -> Result<Vec<Tensor>, RunError> {
        let plan = &self.session.plan;
        let program = &plan.manifest().programs[index];
        let mut symbols = outer.clone();
        for (v, given) in program.inputs.iter().zip(inputs) {
            let decl = &program.values[*v as usize];
            let wrong = |what: String| RunError::Input(format!("input {:?} {what}", decl.name));
            if decl.dtype != given.dtype() {
                return Err(wrong(format!("is {}, the plan takes {}", given.dtype(), decl.dtype)));
            }
            if let Some(dims) = &decl.shape {
                symbols.unify(dims, given.shape()).map_err(wrong)?;
            }
        }
        let placement = self.session.placement(index, &symbols);
        let placement = placement.map_err(|message| RunError::Memory { step: "start".into(), message })?;
        let mut workspace = self.session.take_workspace();
        let total = placement.total as usize;
        if workspace.arena.as_ref().is_none_or(|a| a.as_ref().len() < total) {
            workspace.arena = Some(AlignedBuf::zeroed(total));
        }
        let memory = workspace.arena.as_mut().map(AlignedBuf::as_mut_slice).unwrap_or_default();
        let arena = Arena { base: memory.as_mut_ptr(), len: memory.len() };
        let device = match &self.session.device {
            Some(device) => {
                let sizes: Vec<usize> = inputs.iter().map(|v| v.bytes().len()).collect();
                let of = (program, plan.prepared(index));
                let memory = std::mem::take(&mut workspace.device);
                let frame = DeviceFrame::new(device, of, &placement.slots, total, &sizes, memory);
                Some(frame.map_err(|e| RunError::Memory { step: "start".into(), message: e.to_string() })?)
            }
            None => None,
        };
        let values = Values { program, placement: &placement, arena, slots: vec![] };
        let mut frame = Frame { run: self, index, symbols, values, device };
        let result = frame.start(inputs).and_then(|()| frame.steps(&mut workspace)).and_then(|()| frame.finish());
        if let Some(device) = frame.device.take() {
            workspace.device = device.into_memory();
        }
        drop(frame);
        self.session.give_workspace(workspace);
        result
    }
}

impl<'a> Frame<'a> {
    /// Puts weights and inputs in place.
    fn start(&mut self, inputs: &[View<'a>]) -> Result<(), RunError> {
        let prepared = self.run.session.plan.prepared(self.index);
        self.values.slots = prepared
            .weights
            .iter()
            .map(|w| {
                w.as_ref().map(|w| match w {
                    Weight::Bytes(shape, b) => {
                        Slot { shape: Cow::Borrowed(&shape[..]), data: Data::Borrowed(ViewData::Bytes(b.as_slice())) }
                    }
                    Weight::Strings(t) => {
                        Slot { shape: Cow::Borrowed(t.shape()), data: Data::Borrowed(t.view().data()) }
                    }
                })
            })
            .collect();
        for (v, given) in self.values.program.inputs.iter().zip(inputs) {
            // Kernels take elements at their natural alignment.
            let align = given.dtype().size().unwrap_or(1).min(8);
            let aligned = given.bytes().as_ptr().addr() % align == 0;
            let data = if aligned { Data::Borrowed(given.data()) } else { Data::Tensor(given.to_tensor()) };
            self.values.slots[*v as usize] = Some(Slot { shape: Cow::Borrowed(given.shape()), data });
        }
        Ok(())
    }

    fn steps(&mut self, workspace: &mut Workspace) -> Result<(), RunError> {
        let program = self.values.program;
        for (at, step) in program.steps.iter().enumerate() {
            let start = self.run.recorder.map(|r| (r, r.now()));
            if self.values.placement.joined[at] {
                self.join(step);
            } else {
                self.step(step, workspace)?;
            }
            if let Some((recorder, start)) = start {
                let time = recorder.now().saturating_sub(start);
                let extents = |values: &[Option<u32>]| {
                    let of = |v: u32| self.values.slots[v as usize].as_ref().map(|s| s.shape.to_vec());
                    values.iter().map(|v| v.and_then(of)).collect()
                };
                let (inputs, outputs) = (extents(&step.inputs), extents(&step.outputs));
                recorder.push(StepTime { program: self.index, at, inputs, outputs, start, time });
            }
            if let Some(observer) = self.run.observer.filter(|_| self.index == 0) {
                self.fetch(&step.outputs).map_err(|message| RunError::Step { step: step.name.clone(), message })?;
                for v in step.outputs.iter().flatten() {
                    let o = self.values.operand(*v);
                    observer(self.decl(*v), o.shape, o.bytes);
                }
            }
            for v in &self.run.session.plan.prepared(self.index).released[at] {
                let slot = &mut self.values.slots[*v as usize];
                if slot.as_ref().is_some_and(|s| matches!(s.data, Data::Tensor(_) | Data::Buffer(_))) {
                    *slot = None;
                }
                if let Some(device) = &mut self.device {
                    device.release(*v);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &'a Step, workspace: &mut Workspace) -> Result<(), RunError> {
        let wrong = |message: String| RunError::Step { step: step.name.clone(), message };
        if let [Some(out)] = step.outputs[..]
            && let Storage::Alias(of) = self.values.program.values[out as usize].storage
        {
            return self.alias(out, of).map_err(wrong);
        }
        if let Some(device) = &mut self.device {
            if let Action::Kernel { code: Some(code), .. } = &step.action {
                return self.values.launch(device, step, *code, self.run, &self.symbols).map_err(wrong);
            }
            self.values.fetch(device, &step.inputs).map_err(wrong)?;
            step.outputs.iter().flatten().for_each(|v| device.wrote_on_host(*v));
        }
        match &step.action {
            Action::Kernel { kernel: Kernel::Reference(r), epilogue: None, .. } => {
                let inputs: Vec<Option<View<'_>>> =
                    step.inputs.iter().map(|v| v.map(|v| self.view(v)).transpose()).collect::<Result<_, _>>()?;
                let limit = self.run.session.options.memory_limit;
                let results = self.run.session.reference.eval(r, &inputs, limit);
                let results = results.map_err(|e| RunError::refused(step.name.clone(), e))?;
                self.put_all(step, results)
            }
            Action::Kernel { kernel: kernel @ (Kernel::Map(_) | Kernel::Reduce(_)), epilogue, code: Some(index) } => {
                let code = self.run.session.code.as_ref().map(|code| (code, *index));
                self.computed(step, workspace, |cx, ins, outs| {
                    code::run(code, cx, kernel, epilogue.as_ref(), ins, outs)
                })
            }
            Action::Kernel { kernel, epilogue, .. } => self.kernel(step, kernel, epilogue.as_ref(), workspace),
            _ => {
                let results = self.control(step)?;
                self.put_all(step, results)
            }
        }
    }

    fn kernel(
        &mut self,
        step: &'a Step,
        kernel: &Kernel,
        epilogue: Option<&Expr>,
        workspace: &mut Workspace,
    ) -> Result<(), RunError> {
        self.computed(step, workspace, |cx, ins, outs| dispatch::run(cx, kernel, epilogue, ins, outs))
    }

    /// Allocates results whose extents are known before the step runs, and lets `compute` write them.
    fn computed(
        &mut self,
        step: &'a Step,
        workspace: &mut Workspace,
        compute: impl FnOnce(&mut Cx<'_>, &[Option<Operand<'_>>], &mut [Option<Output<'_>>]) -> Result<(), String>,
    ) -> Result<(), RunError> {
        let wrong = |message: String| RunError::Step { step: step.name.clone(), message };
        // Results first: where they are, and buffers for those outside the arena.
        let mut shapes: Vec<Cow<'a, [usize]>> = Vec::with_capacity(step.outputs.len());
        let mut buffers: Vec<Option<AlignedBuf>> = Vec::with_capacity(step.outputs.len());
        for out in &step.outputs {
            let (mut shape, mut buffer) = (Cow::Borrowed(&[][..]), None);
            if let Some(v) = out {
                let decl = self.decl(*v);
                if decl.storage == Storage::Arena {
                    shape = Cow::Borrowed(self.values.placement.shapes[*v as usize].as_deref().unwrap_or_default());
                } else {
                    let extents = decl.shape.as_deref().and_then(|d| self.symbols.shape(d));
                    let extents =
                        extents.ok_or_else(|| wrong(format!("the extents of {:?} are not known", decl.name)))?;
                    buffer = Some(self.allocate(step, decl.dtype, &extents, decl.layout)?);
                    shape = Cow::Owned(extents);
                }
            }
            shapes.push(shape);
            buffers.push(buffer);
        }
        let result = {
            let ins: Vec<Option<Operand<'_>>> = step.inputs.iter().map(|v| v.map(|v| self.values.operand(v))).collect();
            let mut outs: Vec<Option<Output<'_>>> = Vec::with_capacity(step.outputs.len());
            for ((out, shape), buffer) in step.outputs.iter().zip(&shapes).zip(&mut buffers) {
                outs.push(out.map(|v| {
                    let decl = self.decl(v);
                    let bytes = match (buffer, self.values.placement.slots[v as usize]) {
                        (Some(b), _) => b.as_mut_slice(),
                        // SAFETY: the placement keeps values that are alive at the same step apart, but for the parts of a
                        // concatenation and its result, which no step before it reads and which is not computed. Operands
                        // and other results of this step are alive at it, so nothing else refers to this range now. The
                        // memory belongs to the workspace, which outlives the frame.
                        (None, Some((offset, len))) => unsafe { self.values.arena.slice_mut(offset, len) },
                        (None, None) => &mut [],
                    };
                    Output { dtype: decl.dtype, shape, layout: decl.layout, bytes }
                }));
            }
            let symbols = &self.symbols;
            let mut cx = Cx {
                isa: self.run.session.isa,
                par: self.run.recorder.and_then(Recorder::threads).unwrap_or(&self.run.session.pool),
                scratch: &mut workspace.scratch,
                eval: &|d| d.eval(&|name| symbols.get(name)),
            };
            compute(&mut cx, &ins, &mut outs)
        };
        result.map_err(wrong)?;
        for ((out, shape), buffer) in step.outputs.iter().zip(shapes).zip(buffers) {
            let Some(v) = *out else { continue };
            let decl = self.decl(v);
            let data = match (buffer, self.values.placement.slots[v as usize]) {
                (Some(b), _) if decl.layout == Layout::RowMajor => {
                    let tensor = Tensor::from_bytes(decl.dtype, &shape[..], Bytes::new(b));
                    Data::Tensor(tensor.map_err(|e| wrong(e.to_string()))?)
                }
                (Some(b), _) => Data::Buffer(b),
                (None, slot) => slot.map_or(Data::Arena(0, 0), |(offset, len)| Data::Arena(offset, len)),
            };
            self.values.slots[v as usize] = Some(Slot { shape, data });
        }
        Ok(())
    }

    /// Takes over a result that its operands make up where they lie.
    fn join(&mut self, step: &Step) {
        for v in step.outputs.iter().flatten() {
            let shape = Cow::Borrowed(self.values.placement.shapes[*v as usize].as_deref().unwrap_or_default());
            let data =
                self.values.placement.slots[*v as usize].map_or(Data::Arena(0, 0), |(at, len)| Data::Arena(at, len));
            self.values.slots[*v as usize] = Some(Slot { shape, data });
        }
    }

    fn allocate(&self, step: &Step, dtype: DType, shape: &[usize], layout: Layout) -> Result<AlignedBuf, RunError> {
        let limit = self.run.session.options.memory_limit;
        match layout.stored_bytes(dtype, shape) {
            Some(n) if n <= limit => Ok(AlignedBuf::zeroed(n)),
            _ => {
                let message = format!("a value of {dtype}{shape:?} is beyond {limit} bytes");
                Err(RunError::Memory { step: step.name.clone(), message })
            }
        }
    }

    fn alias(&mut self, out: u32, of: u32) -> Result<(), String> {
        let decl = self.decl(out);
        let shape = match &self.values.placement.shapes[out as usize] {
            Some(s) => Cow::Borrowed(&s[..]),
            None => Cow::Owned(
                decl.shape.as_deref().and_then(|d| self.symbols.shape(d)).ok_or("the extents are not known")?,
            ),
        };
        let source = self.values.slot(of);
        if element_count(&source.shape) != element_count(&shape) {
            return Err(format!("{:?} does not reshape to {shape:?}", source.shape));
        }
        self.values.slots[out as usize] = Some(Slot { shape, data: Data::Same(of) });
        Ok(())
    }

    /// Takes over results whose extents are known only now.
    fn put_all(&mut self, step: &'a Step, results: Vec<Tensor>) -> Result<(), RunError> {
        let wrong = |message: String| RunError::Step { step: step.name.clone(), message };
        let mut results = results.into_iter();
        for (i, out) in step.outputs.iter().enumerate() {
            let result = results.next();
            let Some(v) = *out else { continue };
            let tensor = result.ok_or_else(|| wrong(format!("gave {i} results")))?;
            let decl = self.decl(v);
            if tensor.dtype() != decl.dtype {
                return Err(wrong(format!("{:?} is {}, the plan says {}", decl.name, tensor.dtype(), decl.dtype)));
            }
            if let Some(dims) = &decl.shape {
                self.symbols.unify(dims, tensor.shape()).map_err(|e| wrong(format!("{:?} {e}", decl.name)))?;
            }
            self.values.slots[v as usize] =
                Some(Slot { shape: Cow::Owned(tensor.shape().to_vec()), data: Data::Tensor(tensor) });
        }
        Ok(())
    }

    pub(crate) fn decl(&self, v: u32) -> &'a ValueDecl {
        self.values.decl(v)
    }

    /// A row-major value.
    pub(crate) fn view(&self, v: u32) -> Result<View<'_>, RunError> {
        self.values.view(v)
    }

    /// Copies those of `values` that only the device has.
    fn fetch(&mut self, values: &[Option<u32>]) -> Result<(), String> {
        self.device.as_mut().map_or(Ok(()), |device| self.values.fetch(device, values))
    }

    fn finish(&mut self) -> Result<Vec<Tensor>, RunError> {
        let outputs: Vec<Option<u32>> = self.values.program.outputs.iter().map(|v| Some(*v)).collect();
        self.fetch(&outputs).map_err(|message| RunError::Step { step: "end".into(), message })?;
        self.values
            .program
            .outputs
            .iter()
            .map(|v| match &self.values.slot(*v).data {
                Data::Tensor(t) => Ok(t.clone()),
                _ => Ok(self.view(*v)?.to_tensor()),
            })
            .collect()
    }
}

impl<'a> Values<'a> {
    fn decl(&self, v: u32) -> &'a ValueDecl {
        &self.program.values[v as usize]
    }

    fn slot(&self, v: u32) -> &Slot<'a> {
        self.slots[v as usize].as_ref().expect("this is a bug: the manifest's order was checked")
    }

    fn data(&self, v: u32) -> ViewData<'_> {
        match &self.slot(v).data {
            // SAFETY: the memory belongs to the workspace, which outlives the frame. The bytes are those of a value
            // that is alive; only the step that defined it wrote them, and `Frame::computed` gives out other ranges.
            Data::Arena(offset, len) => ViewData::Bytes(unsafe { self.arena.slice(*offset, *len) }),
            Data::Borrowed(data) => *data,
            Data::Tensor(t) => t.view().data(),
            Data::Buffer(b) => ViewData::Bytes(b.as_ref()),
            Data::Same(of) => self.data(*of),
            Data::Device => ViewData::Bytes(&[]),
        }
    }

    /// The bytes of a value; none of strings.
    fn bytes(&self, v: u32) -> &[u8] {
        match self.data(v) {
            ViewData::Bytes(b) => b,
            ViewData::Strings(_) => &[],
        }
    }

    fn operand(&self, v: u32) -> Operand<'_> {
        let decl = self.decl(v);
        Operand { dtype: decl.dtype, shape: &self.slot(v).shape, layout: decl.layout, bytes: self.bytes(v) }
    }

    fn view(&self, v: u32) -> Result<View<'_>, RunError> {
        let (decl, slot) = (self.decl(v), self.slot(v));
        let view = match self.data(v) {
            ViewData::Bytes(b) if decl.layout == Layout::RowMajor => View::new(decl.dtype, &slot.shape, b),
            ViewData::Bytes(_) => None,
            ViewData::Strings(s) => View::strings(&slot.shape, s),
        };
        view.ok_or_else(|| RunError::Step {
            step: decl.name.clone(),
            message: format!("is in layout {}, row-major is needed", decl.layout),
        })
    }

    /// Runs a step on the device.
    fn launch(
        &mut self,
        device: &mut DeviceFrame<'a>,
        step: &Step,
        code: u32,
        run: &Run<'_>,
        symbols: &Symbols,
    ) -> Result<(), String> {
        let limit = run.session.options.memory_limit;
        let mut lens = Vec::with_capacity(step.outputs.len());
        for out in &step.outputs {
            let Some(v) = *out else {
                lens.push(0);
                continue;
            };
            let decl = self.decl(v);
            let (shape, data) = match (&self.placement.shapes[v as usize], self.placement.slots[v as usize]) {
                (Some(shape), Some((offset, len))) => (Cow::Borrowed(&shape[..]), Data::Arena(offset, len)),
                _ => {
                    let shape = decl.shape.as_deref().and_then(|d| symbols.shape(d));
                    let shape = shape.ok_or_else(|| format!("the extents of {:?} are not known", decl.name))?;
                    (Cow::Owned(shape), Data::Device)
                }
            };
            let len = decl.layout.stored_bytes(decl.dtype, &shape);
            let len = len.filter(|n| *n <= limit);
            lens.push(len.ok_or_else(|| format!("a value of {}{shape:?} is beyond {limit} bytes", decl.dtype))?);
            self.slots[v as usize] = Some(Slot { shape, data });
        }
        device.launch(step, code, symbols, &|v| self.bytes(v), &lens)
    }

    /// Copies those of `values` that only the device has.
    fn fetch(&mut self, device: &mut DeviceFrame<'a>, values: &[Option<u32>]) -> Result<(), String> {
        for v in values.iter().flatten() {
            let v = device.root(*v);
            if !device.is_away(v) {
                continue;
            }
            let slot = self.slot(v);
            if let Data::Arena(offset, len) = slot.data {
                // SAFETY: the range is that of a value that is alive and of which the host has no bytes yet; no slice of
                // it exists, since slices live no longer than a step.
                device.download(v, unsafe { self.arena.slice_mut(offset, len) }).map_err(|e| e.to_string())?;
                continue;
            }
            let (decl, shape) = (self.decl(v), slot.shape.to_vec());
            let len = decl.layout.stored_bytes(decl.dtype, &shape).ok_or("the value is too large")?;
            let mut bytes = AlignedBuf::zeroed(len);
            device.download(v, bytes.as_mut_slice()).map_err(|e| e.to_string())?;
            let tensor = Tensor::from_bytes(decl.dtype, shape, Bytes::new(bytes)).map_err(|e| e.to_string())?;
            if let Some(slot) = &mut self.slots[v as usize] {
                slot.data = Data::Tensor(tensor);
            }
        }
        Ok(())
    }
}
