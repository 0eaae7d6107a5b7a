//! The two hole pages: what is in them, and what of them is mapped for whom.

use abi::job::HOLE_WORD;
use abi::op::{Code, Hole};
use abi::place::Place;

use super::{CompileError, Compiler, skip};
use crate::oracle::value::{Kind, Slices, from_bytes};

/// Bytes in the two hole pages.
pub const HOLE_LEN: usize = 0x2000;
/// Where the second page begins: the one that can be unmapped.
pub(super) const SECOND: u64 = 0x1000;

/// What lies in the hole pages at the start of every pass. The payload writes it, so that a load that was
/// suppressed, or that came from elsewhere, is seen.
#[must_use]
pub fn hole_image() -> Vec<u8> {
    (0..HOLE_LEN as u64 / 8).flat_map(|word| (HOLE_WORD + word).to_le_bytes()).collect()
}

/// What the compiler knows of the hole pages.
pub(super) struct Holes {
    memory: Vec<u8>,
    unmapped: Vec<(Hole, Place)>,
}

impl Holes {
    pub(super) fn new() -> Self {
        Self { memory: hole_image(), unmapped: Vec::new() }
    }

    /// `len` bytes from `offset` as they are loaded into a vector register.
    pub(super) fn load(&self, offset: u64, len: usize) -> Slices {
        let from = usize::try_from(offset).unwrap_or(HOLE_LEN).min(HOLE_LEN);
        let to = (from + len).min(HOLE_LEN);
        from_bytes(Kind::Vector, &self.memory[from..to])
    }

    pub(super) fn store(&mut self, offset: u64, bytes: &[u8]) {
        let from = usize::try_from(offset).unwrap_or(HOLE_LEN);
        if let Some(memory) = self.memory.get_mut(from..from + bytes.len()) {
            memory.copy_from_slice(bytes);
        }
    }

    pub(super) fn all_mapped(&self) -> bool {
        self.unmapped.is_empty()
    }
}

/// Whose stage 1 translates for a place: the payload has tables for each regime.
fn regime(place: Place) -> Place {
    match place {
        Place::L1El0 => Place::L1,
        Place::L2El0 => Place::L2,
        Place::GEl0 => Place::G,
        own => own,
    }
}

impl Compiler<'_> {
    pub(super) fn map(&mut self, hole: Hole, on: bool) -> Result<(), CompileError> {
        if matches!(self.place, Place::L1El0 | Place::L2El0 | Place::GEl0) {
            return Err(self.wrong("EL0 has no page tables"));
        }
        let owner = match hole {
            Hole::Stage1 if !self.guest.mmu => {
                return Err(self.wrong("stage 1 is off in this guest"));
            }
            Hole::Stage2 if !self.guest.stage2 => {
                return Err(self.wrong("L1 runs L2 without a stage 2 in this guest"));
            }
            Hole::Stage2 if self.place != Place::L1 => {
                return Err(self.wrong("stage 2 is L1's"));
            }
            Hole::Stage1 => regime(self.place),
            Hole::Stage2 => Place::L1,
        };
        self.holes.unmapped.retain(|other| *other != (hole, owner));
        if !on {
            self.holes.unmapped.push((hole, owner));
        }
        self.emit(Code::Map, [hole as u64, u64::from(on), 0, 0, 0]);
        Ok(())
    }

    /// The stage that does not map the second hole page at the current place, if one does not.
    pub(super) fn unmapped_at(&self, place: Place) -> Option<Hole> {
        let holds = |hole, owner| self.holes.unmapped.contains(&(hole, owner));
        if holds(Hole::Stage1, regime(place)) {
            return Some(Hole::Stage1);
        }
        let under_stage2 = matches!(place, Place::L2 | Place::L2El0 | Place::L2b);
        (under_stage2 && holds(Hole::Stage2, Place::L1)).then_some(Hole::Stage2)
    }

    /// The first-fault load needs Normal memory: of Device memory only the first element is loaded.
    pub(super) fn need_normal_memory(&self) -> Result<(), CompileError> {
        if self.guest.mmu {
            return Ok(());
        }
        Err(skip(abi::skip::FEATURE_ABSENT, "a first-fault load needs Normal memory, and stage 1 is off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_the_image_is_another() {
        let image = hole_image();
        let words: std::collections::BTreeSet<&[u8]> = image.chunks(8).collect();
        assert_eq!((image.len(), words.len()), (HOLE_LEN, HOLE_LEN / 8));
    }
}
