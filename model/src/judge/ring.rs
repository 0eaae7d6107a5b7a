//! Reading the ring of records. Everything in it is hostile.

use abi::place::Place;
use abi::record::{FpImage, Kind, MAGIC};

/// Bytes in a record header.
const HEADER_LEN: usize = 16;
/// Words in an arrival: 31 general registers and the eleven fields after them.
const ARRIVAL_WORDS: usize = 42;

/// Why a ring cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RingError {
    /// It ends inside a record.
    #[error("the ring ends in the middle of a record at byte {offset}")]
    Truncated {
        /// Where the record begins.
        offset: usize,
    },
    /// There is no record where one must be.
    #[error("no record at byte {offset}: magic number {found:#06x}")]
    BadMagic {
        /// Where it should begin.
        offset: usize,
        /// What is there.
        found: u16,
    },
    /// A record of an unknown kind.
    #[error("unknown kind {kind} of record at byte {offset}")]
    BadKind {
        /// Where it begins.
        offset: usize,
        /// Its kind.
        kind: u16,
    },
    /// A record whose length does not go with its kind.
    #[error("a record of kind {kind} with {len} bytes at byte {offset}")]
    BadLength {
        /// Where it begins.
        offset: usize,
        /// Its kind.
        kind: u16,
        /// Its length.
        len: u32,
    },
    /// A place that does not exist.
    #[error("record from place {place}, which does not exist, at byte {offset}")]
    BadPlace {
        /// Where it begins.
        offset: usize,
        /// The number.
        place: u8,
    },
    /// A record is missing or doubled.
    #[error("record number {found} where number {expected} must be")]
    WrongSequence {
        /// The number that must come.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// A record that the program does not write there.
    #[error("record {seq} is {found} of operation {op}, but {expected} comes there")]
    OutOfStep {
        /// Its number.
        seq: u32,
        /// What it is.
        found: &'static str,
        /// The operation that it names.
        op: u16,
        /// What must come.
        expected: String,
    },
    /// There are more records than the program writes.
    #[error("the program writes {expected} records, but there are more")]
    TooMany {
        /// How many it writes.
        expected: usize,
    },
    /// The program has addresses and was not linked.
    #[error("the program was not linked: the address of the hole pages is not known")]
    NotLinked,
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its number.
    pub seq: u32,
    /// The operation that wrote it.
    pub op: u16,
    /// The place that wrote it.
    pub place: Place,
    /// What it holds.
    pub body: Body<'a>,
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Registers.
    Dump(Dump<'a>),
    /// A system register.
    Register {
        /// Its number.
        reg: u64,
        /// Its value.
        value: u64,
    },
    /// An arrival that the program asked for.
    Arrival(ArrivalRecord<'a>),
    /// One that it did not ask for.
    Unexpected(ArrivalRecord<'a>),
}

impl Body<'_> {
    /// The kind, in words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dump(_) => "a dump",
            Self::Register { .. } => "a register",
            Self::Arrival(_) => "an arrival",
            Self::Unexpected(_) => "an unexpected arrival",
        }
    }
}

/// A dump: an image whose length fits its vector length.
#[derive(Clone, Copy, Debug)]
pub struct Dump<'a> {
    bytes: &'a [u8],
    vl_bytes: usize,
}

impl<'a> Dump<'a> {
    /// The vector length in bytes: 16 to 256, a multiple of 16.
    #[must_use]
    pub const fn vl_bytes(&self) -> usize {
        self.vl_bytes
    }

    /// FPSR, FPCR and FPMR.
    #[must_use]
    pub fn status(&self) -> [u64; 3] {
        [0, 1, 2].map(|index| word(self.bytes, index))
    }

    /// FFR.
    #[must_use]
    pub fn ffr(&self) -> &'a [u8] {
        self.slice(32, self.vl_bytes / 8)
    }

    /// A predicate register, 0 to 15.
    #[must_use]
    pub fn p(&self, reg: usize) -> &'a [u8] {
        let len = self.vl_bytes / 8;
        self.slice(64 + reg * len, len)
    }

    /// A vector register, 0 to 31.
    #[must_use]
    pub fn z(&self, reg: usize) -> &'a [u8] {
        self.slice(FpImage::LEN + reg * self.vl_bytes, self.vl_bytes)
    }

    fn slice(&self, at: usize, len: usize) -> &'a [u8] {
        self.bytes.get(at..at + len).unwrap_or(&[])
    }
}

/// An arrival.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalRecord<'a> {
    bytes: &'a [u8],
}

impl ArrivalRecord<'_> {
    /// X0 to X30.
    #[must_use]
    pub fn x(&self, reg: usize) -> u64 {
        word(self.bytes, reg.min(30))
    }

    /// SP.
    #[must_use]
    pub fn sp(&self) -> u64 {
        word(self.bytes, 31)
    }

    /// SP when this place was last left; 0 for never.
    #[must_use]
    pub fn sp_left(&self) -> u64 {
        word(self.bytes, 32)
    }

    /// ESR_ELx.
    #[must_use]
    pub fn esr(&self) -> u64 {
        word(self.bytes, 33)
    }

    /// ELR_ELx.
    #[must_use]
    pub fn elr(&self) -> u64 {
        word(self.bytes, 34)
    }

    /// SPSR_ELx.
    #[must_use]
    pub fn spsr(&self) -> u64 {
        word(self.bytes, 35)
    }

    /// FAR_ELx.
    #[must_use]
    pub fn far(&self) -> u64 {
        word(self.bytes, 36)
    }

    /// HPFAR_EL2.
    #[must_use]
    pub fn hpfar(&self) -> u64 {
        word(self.bytes, 37)
    }

    /// Where the instruction was that left the last place.
    #[must_use]
    pub fn left_pc(&self) -> u64 {
        word(self.bytes, 38)
    }

    /// Where an ERET was to go.
    #[must_use]
    pub fn target_pc(&self) -> u64 {
        word(self.bytes, 39)
    }

    /// NZCV, DAIF, CurrentEL and SPSel.
    #[must_use]
    pub fn pstate(&self) -> u64 {
        word(self.bytes, 40)
    }

    /// The vector.
    #[must_use]
    pub fn vector(&self) -> u64 {
        word(self.bytes, 41)
    }
}

/// Reads all records.
///
/// # Errors
///
/// The first thing that is wrong with the ring.
pub fn read(ring: &[u8]) -> Result<Vec<Record<'_>>, RingError> {
    let mut records = Vec::new();
    let mut offset = 0;
    while offset < ring.len() {
        let (record, next) = one(ring, offset)?;
        let expected = u32::try_from(records.len()).unwrap_or(u32::MAX);
        if record.seq != expected {
            return Err(RingError::WrongSequence { expected, found: record.seq });
        }
        records.push(record);
        offset = next;
    }
    Ok(records)
}

fn one(ring: &[u8], offset: usize) -> Result<(Record<'_>, usize), RingError> {
    let truncated = RingError::Truncated { offset };
    let body_at = offset.saturating_add(HEADER_LEN);
    let header = ring.get(offset..body_at).ok_or(truncated.clone())?;
    let first = word(header, 0);
    let second = word(header, 1);
    let magic = first as u16;
    if magic != MAGIC {
        return Err(RingError::BadMagic { offset, found: magic });
    }
    let kind = (first >> 16) as u16;
    let len = (first >> 32) as u32;
    let place = (second >> 16) as u8;
    let end = usize::try_from(len).ok().and_then(|len| body_at.checked_add(len));
    let body = end.and_then(|end| ring.get(body_at..end)).ok_or(truncated)?;
    let bad_length = RingError::BadLength { offset, kind, len };
    let body = match kind {
        k if k == Kind::Dump as u16 => Body::Dump(dump(body).ok_or(bad_length)?),
        k if k == Kind::Register as u16 && body.len() == 16 => {
            Body::Register { reg: word(body, 0), value: word(body, 1) }
        }
        k if k == Kind::Arrival as u16 && body.len() == 8 * ARRIVAL_WORDS => {
            Body::Arrival(ArrivalRecord { bytes: body })
        }
        k if k == Kind::Unexpected as u16 && body.len() == 8 * ARRIVAL_WORDS => {
            Body::Unexpected(ArrivalRecord { bytes: body })
        }
        k if k >= Kind::Register as u16 && k <= Kind::Unexpected as u16 => return Err(bad_length),
        kind => return Err(RingError::BadKind { offset, kind }),
    };
    let place = Place::from_u8(place).ok_or(RingError::BadPlace { offset, place })?;
    let record = Record { seq: (second >> 32) as u32, op: second as u16, place, body };
    Ok((record, end.unwrap_or(ring.len())))
}

fn dump(body: &[u8]) -> Option<Dump<'_>> {
    let vl_bytes = usize::try_from(word(body, 3)).ok()?;
    let fits = (16..=abi::VL_BYTES_MAX).contains(&vl_bytes)
        && vl_bytes.is_multiple_of(16)
        && body.len() == FpImage::LEN + 32 * vl_bytes;
    fits.then_some(Dump { bytes: body, vl_bytes })
}

/// The little-endian word with this index; 0 where there is none.
fn word(bytes: &[u8], index: usize) -> u64 {
    let bytes = bytes.get(8 * index..8 * index + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u16, seq: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(3_u16.to_le_bytes());
        bytes.extend([Place::L2 as u8, 0]);
        bytes.extend(seq.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_register() {
        let mut ring = record(2, 0, &[7; 16]);
        ring.extend(record(3, 1, &[1; 336]));
        let records = read(&ring).unwrap();
        assert_eq!((records[0].op, records[0].place, records[1].seq), (3, Place::L2, 1));
        assert!(matches!(records[0].body, Body::Register { value: 0x0707_0707_0707_0707, .. }));
        assert!(matches!(records[1].body, Body::Arrival(_)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = record(2, 0, &[7; 16]);
        assert_eq!(read(&good[..20]).unwrap_err(), RingError::Truncated { offset: 0 });
        assert_eq!(read(&good[..5]).unwrap_err(), RingError::Truncated { offset: 0 });
        assert!(matches!(read(&[0; 32]), Err(RingError::BadMagic { found: 0, .. })));
        assert!(matches!(read(&record(9, 0, &[0; 16])), Err(RingError::BadKind { kind: 9, .. })));
        assert!(matches!(read(&record(2, 0, &[0; 32])), Err(RingError::BadLength { .. })));
        assert!(matches!(read(&record(1, 0, &[0; 640])), Err(RingError::BadLength { .. })));
        assert!(matches!(read(&record(2, 5, &[0; 16])), Err(RingError::WrongSequence { found: 5, .. })));
        let mut place = good;
        place[10] = 99;
        assert!(matches!(read(&place), Err(RingError::BadPlace { place: 99, .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_flipped_bit_can_make_it_panic(at in 0..2000_usize, bit in 0..8) {
            let mut ring = record(2, 0, &[7; 16]);
            ring.extend(record(1, 1, &[16; 576 + 32 * 16]));
            ring.extend(record(3, 2, &[1; 336]));
            let at = at % ring.len();
            ring[at] ^= 1_u8 << bit;
            let _ = read(&ring);
        }
    }
}
