//! Writing records.

use core::ptr::with_exposed_provenance_mut;

use abi::job::Status;
use abi::place::Place;
use abi::record::{Kind, MAGIC, RecordHeader};

use crate::job;

/// A record under construction, at the end of this pass's ring.
pub(crate) struct Record {
    header: u64,
    len: u64,
}

impl Record {
    /// Reserves a record with a body of `len` bytes, a multiple of 16.
    pub(crate) fn new(len: u64) -> Result<Self, Status> {
        let (start, ring_len, used) = job::ring();
        let used = used.get();
        if used + size_of::<RecordHeader>() as u64 + len > ring_len {
            return Err(Status::RingFull);
        }
        Ok(Self { header: start + used, len })
    }

    /// The body, to be written before [`Record::commit`].
    pub(crate) fn body<T>(&self) -> *mut T {
        with_exposed_provenance_mut(self.header as usize + size_of::<RecordHeader>())
    }

    /// Writes the header; the record counts from now on.
    pub(crate) fn commit(self, kind: Kind, op: u64, place: Place) {
        let seq = job::RECORDS.get();
        let header = RecordHeader {
            magic: MAGIC,
            kind: kind as u16,
            len: self.len as u32,
            op: op as u16,
            place: place as u8,
            reserved: 0,
            seq: seq as u32,
        };
        // SAFETY: `new` found the record inside the ring, at a multiple of 16.
        unsafe { with_exposed_provenance_mut::<RecordHeader>(self.header as usize).write(header) };
        let (start, _, used) = job::ring();
        used.set(self.header - start + size_of::<RecordHeader>() as u64 + self.len);
        job::RECORDS.set(seq + 1);
    }
}

/// Writes a record whose body is one value.
pub(crate) fn write<T: Copy>(kind: Kind, op: u64, place: Place, body: T) -> Result<(), Status> {
    const { assert!(size_of::<T>().is_multiple_of(16)) };
    let record = Record::new(size_of::<T>() as u64)?;
    // SAFETY: the record has room for a `T`, and 16-byte alignment is enough for every record type.
    unsafe { record.body::<T>().write(body) };
    record.commit(kind, op, place);
    Ok(())
}
