//! Where things happened, in words: addresses through ELF symbols and DWARF, syndromes, trace events.

pub mod esr;
pub mod pstate;
mod space;
mod symbols;
pub mod trace;
pub mod vector;

pub use space::{Loaded, Located, Space};
pub use symbols::{Position, SymbolError, Symbols};
