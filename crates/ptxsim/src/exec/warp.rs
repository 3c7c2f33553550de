//! What the lanes of a warp do together: shuffles, votes, reductions, `bar.warp.sync`.

use super::memory::combine;
use super::{Context, Warp, lanes};
use crate::error::{FaultKind, Trap};
use crate::isa::{LANES, Op, Reg, Shuffle, Vote};

impl Warp {
    /// Checks that the lanes named in `mask` are exactly those that execute this, as far as they live.
    ///
    /// Hardware waits for the missing ones; a compiler that brings them here at another time is legal, but a generator of
    /// kernels that means it is not known, and a wrong mask is what tests look for.
    fn members(&self, mask: Reg, active: u32, cx: &Context) -> Result<u32, Trap> {
        let members = self.uniform(mask, active, cx.entry, "the mask of members")? as u32;
        let fault = |lane: u32, message: String| Err(Trap::new(FaultKind::Divergence, lane, message));
        let outside = active & !members;
        if outside != 0 {
            let lane = outside.trailing_zeros();
            return fault(lane, format!("lane {lane} is not in the mask {members:#010x}"));
        }
        let absent = members & self.live & !active;
        if absent != 0 {
            let lane = absent.trailing_zeros();
            return fault(lane, format!("lane {lane} of the mask {members:#010x} is elsewhere"));
        }
        Ok(members & active)
    }

    pub(super) fn together(&mut self, op: &Op, mask: u32, cx: &mut Context) -> Result<(), Trap> {
        let entry = cx.entry;
        match op {
            Op::WarpSync { mask: members } => {
                self.members(*members, mask, cx)?;
                cx.shared.tick(self.id as usize);
            }
            Op::Shuffle { mode, d, p, a, b, c, mask: members } => {
                let members = self.members(*members, mask, cx)?;
                let a = *self.source(*a, mask, entry)?;
                let (b, c) = (self.source(*b, mask, entry)?, self.source(*c, mask, entry)?);
                let (mut out, mut valid) = (a, 0u32);
                for lane in lanes(mask) {
                    let (from, inside) = source_lane(*mode, lane as i64, b[lane], c[lane]);
                    valid |= u32::from(inside) << lane;
                    let from = if inside { from } else { lane };
                    if members >> from & 1 == 0 {
                        let message = format!("lane {lane} shuffles from lane {from}, which does not take part");
                        return Err(Trap::new(FaultKind::InactiveLane, lane as u32, message));
                    }
                    out[lane] = a[from];
                }
                self.store(*d, mask, &out);
                if let Some(p) = p {
                    self.store_pred(*p, mask, valid);
                }
            }
            Op::VotePred { vote, d, a, negate, mask: members } => {
                let members = self.members(*members, mask, cx)?;
                let v = (self.pred(*a, mask, entry)? ^ if *negate { !0 } else { 0 }) & members;
                let yes = match vote {
                    Vote::All => v == members,
                    Vote::Any => v != 0,
                    Vote::Uni | Vote::Ballot => v == 0 || v == members,
                };
                self.store_pred(*d, mask, if yes { !0 } else { 0 });
            }
            Op::Ballot { d, a, negate, mask: members } => {
                let members = self.members(*members, mask, cx)?;
                let v = (self.pred(*a, mask, entry)? ^ if *negate { !0 } else { 0 }) & members;
                self.store(*d, mask, &[u64::from(v); LANES]);
            }
            Op::ActiveMask { d } => self.store(*d, mask, &[u64::from(mask); LANES]),
            Op::Redux { op, ty, d, a, mask: members } => {
                self.members(*members, mask, cx)?;
                let a = self.source(*a, mask, entry)?;
                let v = lanes(mask).map(|l| a[l]).reduce(|x, y| combine(*op, *ty, x, y, y));
                self.store(*d, mask, &[v.unwrap_or(0); LANES]);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Which lane a shuffle reads, and whether that is inside of its segment. PTX ISA, "shfl.sync".
fn source_lane(mode: Shuffle, lane: i64, b: u64, c: u64) -> (usize, bool) {
    let (b, clamp, segment) = ((b & 31) as i64, (c & 31) as i64, (c >> 8 & 31) as i64);
    let (most, least) = (lane & segment | clamp & !segment, lane & segment);
    let (from, inside) = match mode {
        Shuffle::Up => (lane - b, lane - b >= most),
        Shuffle::Down => (lane + b, lane + b <= most),
        Shuffle::Bfly => (lane ^ b, lane ^ b <= most),
        Shuffle::Idx => (least | b & !segment, (least | b & !segment) <= most),
    };
    if inside { ((from & 31) as usize, true) } else { (0, false) }
}
