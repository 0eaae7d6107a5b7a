//! Guest memory: an anonymous file that QEMU and the harness both map.
//!
//! The guest is a stranger and another process: nothing here hands out a reference into its memory. Bytes
//! are copied in and out by volatile accesses, and every address is checked.
#![expect(unsafe_code, reason = "a mapping shared with another process cannot be a Rust slice")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An access outside guest memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{len:#x} bytes at {address:#x} are not in guest memory")]
pub struct OutOfRange {
    /// The guest physical address.
    pub address: u64,
    /// The number of bytes.
    pub len: u64,
}

/// The guest's RAM, by guest physical addresses.
#[derive(Debug)]
pub struct GuestMemory {
    file: OwnedFd,
    map: NonNull<u8>,
    base: u64,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and no method depends on the thread that made it.
unsafe impl Send for GuestMemory {}

impl GuestMemory {
    /// Makes zeroed memory of `len` bytes at guest physical address `base`.
    ///
    /// It lies in no file system, so it needs no space on any disk and vanishes with its last user.
    ///
    /// # Errors
    ///
    /// If the system refuses the file or its mapping.
    pub fn new(base: u64, len: usize) -> io::Result<Self> {
        let file = memfd_create("holdfast-ram", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len as u64)?;
        // SAFETY: no address is asked for, so no mapping of this process is replaced.
        let map = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
        }?;
        let map = NonNull::new(map.cast::<u8>()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { file, map, base, len })
    }

    /// The file behind the memory, for QEMU to map.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Copies guest memory from `address` into `to`.
    ///
    /// # Errors
    ///
    /// If a byte of it is outside guest memory; `to` is then unchanged.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), OutOfRange> {
        let from = self.pointer(address, to.len())?;
        let (words, rest) = to.split_at_mut(to.len() / 8 * 8);
        if from.align_offset(8) == 0 {
            for (i, word) in words.chunks_exact_mut(8).enumerate() {
                // SAFETY: `pointer` checked that the range is mapped; it is aligned, and any bits are a `u64`.
                let value = unsafe { from.wrapping_add(i * 8).cast::<u64>().read_volatile() };
                word.copy_from_slice(&value.to_ne_bytes());
            }
        } else {
            // SAFETY: the range that `pointer` checked begins with as many bytes.
            unsafe { read_bytes(from, words) };
        }
        // SAFETY: the range that `pointer` checked ends with these.
        unsafe { read_bytes(from.wrapping_add(words.len()), rest) };
        Ok(())
    }

    /// Copies `from` into guest memory at `address`.
    ///
    /// # Errors
    ///
    /// If a byte of it is outside guest memory; nothing is then written.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), OutOfRange> {
        let to = self.pointer(address, from.len())?;
        let (words, rest) = from.split_at(from.len() / 8 * 8);
        if to.align_offset(8) == 0 {
            for (i, word) in words.chunks_exact(8).enumerate() {
                let value = u64::from_ne_bytes(word.try_into().expect("a chunk of 8 bytes"));
                // SAFETY: `pointer` checked that the range is mapped, and it is aligned.
                unsafe { to.wrapping_add(i * 8).cast::<u64>().write_volatile(value) };
            }
        } else {
            // SAFETY: the range that `pointer` checked begins with as many bytes.
            unsafe { write_bytes(to, words) };
        }
        // SAFETY: the range that `pointer` checked ends with these.
        unsafe { write_bytes(to.wrapping_add(words.len()), rest) };
        Ok(())
    }

    /// Writes `len` zero bytes at `address`.
    ///
    /// # Errors
    ///
    /// If a byte of it is outside guest memory; nothing is then written.
    pub fn clear(&self, address: u64, len: u64) -> Result<(), OutOfRange> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let out_of_range = OutOfRange { address, len };
        let len = usize::try_from(len).map_err(|_| out_of_range)?;
        self.pointer(address, len)?;
        let mut done = 0;
        while done < len {
            let chunk = ZEROS.len().min(len - done);
            self.write(address + done as u64, &ZEROS[..chunk])?;
            done += chunk;
        }
        Ok(())
    }

    /// Copies a value out of guest memory.
    ///
    /// # Errors
    ///
    /// If a byte of it is outside guest memory.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, address: u64) -> Result<T, OutOfRange> {
        let mut value = T::new_zeroed();
        self.read(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a value into guest memory.
    ///
    /// # Errors
    ///
    /// If a byte of it is outside guest memory; nothing is then written.
    pub fn write_value<T: IntoBytes + Immutable>(&self, address: u64, value: &T) -> Result<(), OutOfRange> {
        self.write(address, value.as_bytes())
    }

    /// The mapping of `len` bytes at `address`, if all of them are guest memory.
    fn pointer(&self, address: u64, len: usize) -> Result<*mut u8, OutOfRange> {
        let out_of_range = OutOfRange { address, len: len as u64 };
        let offset = address.checked_sub(self.base).ok_or(out_of_range)?;
        let offset = usize::try_from(offset).map_err(|_| out_of_range)?;
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.map.as_ptr().wrapping_add(offset)),
            _ => Err(out_of_range),
        }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and no reference into it ever existed.
        let unmapped = unsafe { munmap(self.map.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(unmapped.is_ok(), "the mapping was made by `new`");
    }
}

/// Copies bytes out, one by one.
///
/// # Safety
///
/// As many bytes as `to` has must be mapped at `from`.
unsafe fn read_bytes(from: *const u8, to: &mut [u8]) {
    for (i, byte) in to.iter_mut().enumerate() {
        // SAFETY: `i` is less than the number of bytes that the caller answers for.
        *byte = unsafe { from.wrapping_add(i).read_volatile() };
    }
}

/// Copies bytes in, one by one.
///
/// # Safety
///
/// As many bytes as `from` has must be mapped at `to`.
unsafe fn write_bytes(to: *mut u8, from: &[u8]) {
    for (i, byte) in from.iter().enumerate() {
        // SAFETY: `i` is less than the number of bytes that the caller answers for.
        unsafe { to.wrapping_add(i).write_volatile(*byte) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x4000_0000;
    const LEN: usize = 0x3000;

    fn memory() -> GuestMemory {
        GuestMemory::new(BASE, LEN).unwrap()
    }

    #[test]
    fn what_is_written_is_read_at_every_alignment_and_length() {
        let memory = memory();
        for offset in 0..9 {
            for len in 0..40 {
                let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + offset) as u8 | 1).collect();
                memory.clear(BASE, 64).unwrap();
                memory.write(BASE + offset, &bytes).unwrap();
                let mut all = [0; 64];
                memory.read(BASE, &mut all).unwrap();
                let end = offset as usize + bytes.len();
                assert_eq!(all[offset as usize..end], bytes);
                assert!(all[..offset as usize].iter().chain(&all[end..]).all(|&byte| byte == 0));
                let mut back = vec![0; bytes.len()];
                memory.read(BASE + offset, &mut back).unwrap();
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    fn no_access_leaves_guest_memory() {
        let memory = memory();
        let end = BASE + LEN as u64;
        memory.write(end - 8, &[1; 8]).unwrap();
        for address in [0, BASE - 1, end - 7, end, u64::MAX - 3, u64::MAX] {
            assert_eq!(memory.write(address, &[2; 8]), Err(OutOfRange { address, len: 8 }));
            assert_eq!(memory.read(address, &mut [0; 8]), Err(OutOfRange { address, len: 8 }));
        }
        for len in [LEN as u64 + 1, u64::MAX] {
            assert!(memory.clear(BASE, len).is_err());
        }
        assert_eq!(memory.read_value::<u64>(end - 8), Ok(0x0101_0101_0101_0101));
        memory.clear(BASE, LEN as u64).unwrap();
        assert_eq!(memory.read_value::<u64>(end - 8), Ok(0));
    }

    #[test]
    fn another_user_of_the_file_sees_the_same_bytes() {
        use std::io::Read as _;
        let memory = memory();
        memory.write_value(BASE + 16, &0x1234_5678_u64).unwrap();
        let mut file = std::fs::File::from(memory.file().try_clone_to_owned().unwrap());
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), LEN);
        assert_eq!(bytes[16..24], 0x1234_5678_u64.to_le_bytes());
    }
}
