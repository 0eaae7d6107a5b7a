//! IPsec by netlink: one association, and a policy for one socket. Layouts and numbers are those of
//! `include/uapi/linux/xfrm.h`, `netlink.h` and `in.h`.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use zerocopy::{Immutable, IntoBytes};

/// XFRM_MSG_NEWSA.
const NEW_STATE: u16 = 0x10;
/// XFRMA_ALG_AEAD.
const AEAD: u16 = 18;
/// IP_XFRM_POLICY, the option of a socket.
const IP_XFRM_POLICY: libc::c_int = 17;
/// XFRM_POLICY_OUT.
const OUT: u8 = 1;
/// XFRM_INF: no limit.
const INFINITE: u64 = u64::MAX;
/// AES-GCM for ESP (RFC 4106): what `ghash-ce` and `gcm` have.
const ALGORITHM: &[u8] = b"rfc4106(gcm(aes))";
/// AES-128 and four bytes of salt.
const KEY: [u8; 20] = *b"a key and a salt : )";
/// Of the check value.
const ICV_BITS: u32 = 128;
/// Any number above the reserved ones.
const SPI: u32 = 0x0db0;
const ESP: u8 = 50;
const FAMILY: u16 = libc::AF_INET as u16;

/// `xfrm_address_t`.
type Address = [u8; 16];

const fn localhost() -> Address {
    let [a, b, c, d] = Ipv4Addr::LOCALHOST.octets();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Immutable, IntoBytes)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct xfrm_selector`: any traffic of a family.
#[derive(Clone, Copy, Immutable, IntoBytes)]
#[repr(C)]
struct Selector {
    addresses: [Address; 2],
    ports: [u16; 4],
    family: u16,
    prefixes: [u8; 2],
    protocol: u8,
    pad: [u8; 3],
    interface: u32,
    user: u32,
}

const ANY: Selector = Selector {
    addresses: [[0; 16]; 2],
    ports: [0; 4],
    family: FAMILY,
    prefixes: [0; 2],
    protocol: 0,
    pad: [0; 3],
    interface: 0,
    user: 0,
};

/// `struct xfrm_id`.
#[derive(Clone, Copy, Immutable, IntoBytes)]
#[repr(C)]
struct Id {
    to: Address,
    spi: [u8; 4],
    protocol: u8,
    pad: [u8; 3],
}

/// `struct xfrm_lifetime_cfg` and `struct xfrm_lifetime_cur`: neither bytes nor packets nor seconds end it.
#[derive(Clone, Copy, Immutable, IntoBytes)]
#[repr(C)]
struct Lifetime {
    bytes_and_packets: [u64; 4],
    seconds: [u64; 4],
    current: [u64; 4],
}

const FOREVER: Lifetime = Lifetime { bytes_and_packets: [INFINITE; 4], seconds: [0; 4], current: [0; 4] };

/// `struct xfrm_usersa_info`, and XFRMA_ALG_AEAD with its `struct xfrm_algo_aead`.
#[derive(Immutable, IntoBytes)]
#[repr(C)]
struct State {
    header: Header,
    selector: Selector,
    id: Id,
    from: Address,
    lifetime: Lifetime,
    statistics: [u32; 3],
    sequence: u32,
    request: u32,
    family: u16,
    /// Transport.
    mode: u8,
    replay_window: u8,
    flags: u64,
    attribute_len: u16,
    attribute: u16,
    algorithm: [u8; 64],
    key_bits: u32,
    icv_bits: u32,
    key: [u8; 20],
}
const _: () = assert!(size_of::<State>() == 16 + 224 + 4 + 72 + KEY.len());

/// `struct xfrm_userpolicy_info`, and one `struct xfrm_user_tmpl`.
#[derive(Immutable, IntoBytes)]
#[repr(C)]
struct Policy {
    selector: Selector,
    lifetime: Lifetime,
    priority: u32,
    index: u32,
    direction: u8,
    /// Allow.
    action: u8,
    flags: u8,
    share: u8,
    pad: [u8; 4],
    id: Id,
    family: u16,
    pad_of_family: u16,
    from: Address,
    request: u32,
    mode: u8,
    share_of_template: u8,
    optional: u8,
    pad_of_template: u8,
    /// Authentication, encryption, compression: any.
    algorithms: [u32; 3],
}
const _: () = assert!(size_of::<Policy>() == 168 + 64);

/// Adds the association that serves both directions.
pub(super) fn add_state() -> io::Result<()> {
    const LEN: usize = size_of::<State>();
    const ALGORITHM_AT: usize = LEN - KEY.len() - 76;
    let mut algorithm = [0; 64];
    algorithm[..ALGORITHM.len()].copy_from_slice(ALGORITHM);
    let state = State {
        header: Header {
            len: LEN as u32,
            kind: NEW_STATE,
            flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE) as u16,
            sequence: 1,
            port: 0,
        },
        selector: ANY,
        id: Id { to: localhost(), spi: SPI.to_be_bytes(), protocol: ESP, pad: [0; 3] },
        from: localhost(),
        lifetime: FOREVER,
        statistics: [0; 3],
        sequence: 0,
        request: 0,
        family: FAMILY,
        mode: 0,
        replay_window: 0,
        flags: 0,
        attribute_len: (LEN - ALGORITHM_AT) as u16,
        attribute: AEAD,
        algorithm,
        key_bits: KEY.len() as u32 * 8,
        icv_bits: ICV_BITS,
        key: KEY,
    };
    // SAFETY: it makes a descriptor, or none.
    let socket =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_XFRM) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let bytes = state.as_bytes();
    // SAFETY: the bytes are read.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    /// `struct nlmsghdr` and the error of `struct nlmsgerr`.
    const ANSWER: usize = 20;
    let mut answer = [0u8; 512];
    // SAFETY: as many bytes are written, at most.
    let len = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    match usize::try_from(len) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(len) if len < ANSWER => Err(io::ErrorKind::InvalidData.into()),
        Ok(_) => match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        },
    }
}

/// Lets a socket send nothing but what that association encrypts.
pub(super) fn encrypt(socket: &UdpSocket) -> io::Result<()> {
    let policy = Policy {
        selector: ANY,
        lifetime: FOREVER,
        priority: 0,
        index: 0,
        direction: OUT,
        action: 0,
        flags: 0,
        share: 0,
        pad: [0; 4],
        id: Id { to: localhost(), spi: SPI.to_be_bytes(), protocol: ESP, pad: [0; 3] },
        family: FAMILY,
        pad_of_family: 0,
        from: localhost(),
        request: 0,
        mode: 0,
        share_of_template: 0,
        optional: 0,
        pad_of_template: 0,
        algorithms: [u32::MAX; 3],
    };
    let bytes = policy.as_bytes();
    // SAFETY: the bytes are read.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            IP_XFRM_POLICY,
            bytes.as_ptr().cast(),
            bytes.len() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
