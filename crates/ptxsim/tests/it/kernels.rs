//! Whole kernels against the host.

use crate::{bytes, device, floats, run};
use planc_ptxsim::{Module, Param};

#[test]
fn vector_add() {
    let module = Module::parse(include_str!("kernels/vector_add.ptx")).unwrap();
    for n in [1usize, 31, 128, 1000] {
        let mut device = device();
        let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..n).map(|i| 0.5 * i as f32).collect();
        let (pa, pb) = (device.upload(&bytes(&a)).unwrap(), device.upload(&bytes(&b)).unwrap());
        let pc = device.alloc(4 * n).unwrap();
        let params = [Param::U64(pa), Param::U64(pb), Param::U64(pc), Param::U32(n as u32)];
        let stats = run(&mut device, &module, n.div_ceil(128) as u32, 128, 0, &params).unwrap();
        assert_eq!(stats.blocks, n.div_ceil(128) as u64);
        let want: Vec<f32> = a.iter().zip(&b).map(|(x, y)| x + y).collect();
        assert_eq!(floats(&device.read(pc, 4 * n).unwrap()), want);
    }
}
