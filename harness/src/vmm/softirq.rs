//! SIMD of the host kernel in a softirq, while a guest's registers are in the CPU (rules P-11 and P-12).
//!
//! IPsec does it in every kernel: the datagrams that one CPU sends to itself over the loopback device are encrypted
//! by ESP, and receive packet steering hands them to the vCPU's CPU, by an interrupt. What that interrupt leaves to the
//! NET_RX softirq, at its end and so within KVM_RUN, decrypts them: `esp_input()` of net/ipv4/esp4.c calls
//! `gcm_decrypt()` of arch/arm64/crypto/ghash-ce-glue.c, and that `kernel_neon_begin()`. No other thread runs on
//! that CPU, and no vCPU is put.
//!
//! A datagram that the socket here receives was decrypted: the sender has no other way. So each one is a proof, as is
//! the CPU that the kernel notes of it.

mod xfrm;

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::kernel::modules::MODULES;

/// The vCPU's CPU, as a mask in hexadecimal.
const CPU: (libc::c_int, &str) = (0, "1");
/// Receive packet steering (Documentation/networking/scaling.rst).
const STEERING: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";
/// More than one round of the cipher.
const DATAGRAM: [u8; 512] = [0x5a; 512];

/// Datagrams from anywhere to the vCPU's CPU.
#[derive(Debug)]
pub(super) struct Traffic {
    from: UdpSocket,
    to: UdpSocket,
}

impl Traffic {
    /// Prepares this host for it; an error says what it lacks.
    pub(super) fn start() -> Result<Self, String> {
        let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        if std::process::id() != 1 {
            own_network().map_err(step("no network of our own for SIMD in softirqs"))?;
        }
        let modules = load_modules()?;
        loopback_up().map_err(step("no loopback device for SIMD in softirqs"))?;
        fs::write(STEERING, CPU.1).map_err(step("no steering of packets for SIMD in softirqs"))?;
        xfrm::add_state().map_err(|error| {
            let with = if modules == 0 { " built in, nor modules" } else { "" };
            format!("no ESP with AES-GCM{with} for SIMD in softirqs: {error}")
        })?;
        if !cipher_is_simd(&fs::read_to_string("/proc/crypto").unwrap_or_default()) {
            return Err("nothing says that AES-GCM of this kernel uses SIMD".to_owned());
        }
        Self::new().map_err(step("no sockets for SIMD in softirqs"))
    }

    fn new() -> io::Result<Self> {
        let [from, to] = [(); 2].map(|()| UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        let (from, to) = (from?, to?);
        from.connect(to.local_addr()?)?;
        to.connect(from.local_addr()?)?;
        xfrm::encrypt(&from)?;
        to.set_nonblocking(true)?;
        Ok(Self { from, to })
    }

    /// Sends one.
    pub(super) fn send(&self) {
        // One that does not go off does not arrive, which is what counts.
        let _ = self.from.send(&DATAGRAM);
    }

    /// How many were decrypted on the vCPU's CPU since the last call.
    pub(super) fn arrived(&self) -> u64 {
        let mut datagram = DATAGRAM;
        let mut arrived = 0;
        while self.to.recv(&mut datagram).is_ok() {
            arrived += 1;
        }
        if self.last_cpu() == Some(CPU.0) { arrived } else { 0 }
    }

    /// The CPU whose softirq delivered the last one (`sk_incoming_cpu_update()`).
    fn last_cpu(&self) -> Option<libc::c_int> {
        let mut cpu = -1;
        let mut len = libc::socklen_t::try_from(size_of_val(&cpu)).ok()?;
        // SAFETY: both are written, the first one for as many bytes as the second one says.
        let answer = unsafe {
            libc::getsockopt(
                self.to.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_INCOMING_CPU,
                (&raw mut cpu).cast(),
                &raw mut len,
            )
        };
        (answer == 0).then_some(cpu)
    }
}

/// Whether the cipher of the association is made from one for the CPU's instructions: Linux names those so on arm64
/// (arch/arm64/crypto). What only may use them, as the generic library does in some versions, does not count.
fn cipher_is_simd(ciphers: &str) -> bool {
    ciphers.split("\n\n").any(|cipher| {
        let field = |name: &str| {
            cipher.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim())
            })
        };
        let by = field("driver").unwrap_or_default();
        field("name") == Some("seqiv(rfc4106(gcm(aes)))") && (by.contains("-ce") || by.contains("-neon"))
    })
}

/// Gives this thread a network namespace, and a view of it: the host's own loopback device stays as it is. As `/init`
/// there is nobody else.
fn own_network() -> io::Result<()> {
    // SAFETY: it concerns this thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None)?)
}

/// Loads what came with the agent, in the order of its names. A kernel that has it built in came with none. Returns how many.
fn load_modules() -> Result<usize, String> {
    let folder = Path::new("/").join(MODULES);
    let mut modules: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    modules.sort_by_key(fs::DirEntry::file_name);
    for module in &modules {
        let name = module.file_name().to_string_lossy().into_owned();
        let file = File::open(module.path()).map_err(|error| format!("the module {name}: {error}"))?;
        match rustix::system::finit_module(&file, &CString::default(), 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(format!("the module {name} cannot be loaded: {error}")),
        }
    }
    Ok(modules.len())
}

/// SIOCSIFFLAGS: the device gets its address, 127.0.0.1, as it comes up (`inetdev_event()` of net/ipv4/devinet.c).
fn loopback_up() -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    // SAFETY: all zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is read.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
