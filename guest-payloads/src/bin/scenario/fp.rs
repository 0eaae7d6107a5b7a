//! Fills, dumps and churns.

use core::ptr::with_exposed_provenance;

use abi::job::Status;
use abi::op::{Op, RDVL, churn, mask};
use abi::place::Place;
use abi::record::{FpImage, Kind, RegisterValue};
use arch::payload::fp;

use crate::job;
use crate::ring::{self, Record};

const _: () = assert!(fp::HEADER == FpImage::LEN);

/// Bytes of an image with all Z registers at a vector length of `vl` bytes.
const fn image_len(vl: u64) -> u64 {
    FpImage::LEN as u64 + 32 * vl
}

/// Loads the registers that the operation's mask names. An image for a shorter vector length is refused, with a
/// record of the length that there is: it is not the one that the program was compiled for.
pub(crate) fn fill(op: &Op, index: u64, place: Place) -> Result<(), Status> {
    let [wanted, ..] = op.arg;
    let image = |len| job::data(op, len).map(|address| with_exposed_provenance(address as usize));
    if wanted & mask::V_ONLY != 0 {
        let len = if wanted & mask::Z != 0 { image_len(16) } else { image_len(0) };
        // SAFETY: the data is as long as the registers of the mask need.
        unsafe { fp::fill_v(image(len)?, wanted) };
    } else {
        let mut len = image_len(0);
        if wanted & mask::Z != 0 {
            let vl = fp::vector_length();
            len = image_len(vl);
            if u64::from(op.data_len) < len {
                ring::write(Kind::Register, index, place, RegisterValue { reg: RDVL.into(), value: vl })?;
            }
        }
        // SAFETY: the data is as long as the registers of the mask need.
        unsafe { fp::fill(image(len)?, wanted) };
    }
    Ok(())
}

/// Stores all registers into a record.
pub(crate) fn dump(op: &Op, index: u64, place: Place) -> Result<(), Status> {
    let [wanted, ..] = op.arg;
    let v_only = wanted & mask::V_ONLY != 0;
    let vl = if v_only { 16 } else { fp::vector_length() };
    let record = Record::new(image_len(vl))?;
    let body = record.body::<u8>();
    // SAFETY: the record has room for the header; what is not stored has to read as zero.
    unsafe { body.write_bytes(0, FpImage::LEN) };
    if v_only {
        // SAFETY: the record has room for the header and 32 registers of 16 bytes.
        unsafe { fp::dump_v(body, job::has_fpmr()) };
    } else {
        // SAFETY: the record has room for the header and 32 registers of the present length.
        unsafe { fp::dump(body, job::has_fpmr()) };
    }
    record.commit(Kind::Dump, index, place);
    Ok(())
}

/// Runs the vector computation.
pub(crate) fn churn(op: &Op) -> Result<(), Status> {
    let [rounds, wanted, ..] = op.arg;
    if rounds > churn::ROUNDS_MAX {
        return Err(Status::BadJob);
    }
    if wanted & mask::V_ONLY != 0 {
        fp::churn_v(rounds);
    } else {
        fp::churn(rounds);
    }
    Ok(())
}
