//! The named bugs that the reference hypervisor can commit.
//!
//! Each is taken from a published one (the catalogue's entry is `origin`) and does what that bug did. One
//! row here, one `fault!` at the line in the hypervisor: nothing else names a fault.

macro_rules! faults {
    ($($variant:ident = $id:literal, $name:literal, $origin:literal, [$($rule:literal),*], $what:literal;)*) => {
        /// A fault of the reference hypervisor.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u16)]
        pub enum Fault {
            $(#[doc = $what] $variant = $id,)*
        }

        impl Fault {
            /// Every fault, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The fault with this number, if there is one.
            #[must_use]
            pub const fn from_u64(value: u64) -> Option<Self> {
                match value { $($id => Some(Self::$variant),)* _ => None }
            }
            /// The name, as in the catalogue.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The catalogued bug or bugs it repeats.
            #[must_use]
            pub const fn origin(self) -> &'static str { match self { $(Self::$variant => $origin,)* } }
            /// The rules it breaks.
            #[must_use]
            pub const fn rules(self) -> &'static [&'static str] { match self { $(Self::$variant => &[$($rule),*],)* } }
            /// What the hypervisor does wrong, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str { match self { $(Self::$variant => $what,)* } }
        }
    };
}

faults! {
    NvFlagSticky = 1, "nv-flag-sticky", "NV-00", ["P-83", "P-08"],
        "The mark of a nested transition is never cleared, so the next real put skips the save.";
    NvStaleOwner = 2, "nv-stale-owner", "NV-00", ["P-80", "P-83"],
        "SIMD used by the hypervisor inside the nested switch does not take the registers from their owner.";
    NvReloadOld = 3, "nv-reload-old", "NV-00", ["P-80"],
        "A nested exception reloads the registers from the memory image and loses the live values.";
}
