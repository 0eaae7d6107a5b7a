//! The legal values of one vector or predicate register.

use std::collections::BTreeMap;

/// The vector length that the architecture allows at most, in quadwords.
pub const VQ_MAX: usize = 16;

/// A register cut into *slices*, one for each quadword of vector length: 128 bits of a Z register, 16 bits of a
/// P register or FFR. Unused bits are zero.
pub type Slices = [u128; VQ_MAX];

/// How much of a register one quadword of vector length is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A Z register: 16 bytes.
    Vector,
    /// A P register or FFR: 2 bytes.
    Predicate,
}

impl Kind {
    /// Bytes in a slice.
    #[must_use]
    pub const fn slice_len(self) -> usize {
        match self {
            Self::Vector => 16,
            Self::Predicate => 2,
        }
    }
}

/// A set of *cuts*: lengths in quadwords above which the bits of a register may have been zeroed.
///
/// A cut of [`VQ_MAX`] means that nothing was zeroed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cuts(u16);

impl Cuts {
    /// Nothing was zeroed.
    pub const WHOLE: Self = Self(1 << (VQ_MAX - 1));

    /// Whether `vq` is in the set.
    #[must_use]
    pub const fn contains(self, vq: usize) -> bool {
        vq >= 1 && vq <= VQ_MAX && self.0 & (1 << (vq - 1)) != 0
    }

    /// The cuts, smallest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (1..=VQ_MAX).filter(move |vq| self.contains(*vq))
    }

    /// Adds, for each cut `c`, the cut `min(c, vq)`.
    pub fn narrow(&mut self, vq: usize) {
        if self.iter().any(|cut| cut >= vq) {
            self.insert(vq);
        }
    }

    /// What a write of the bytes below `vq` leaves: cuts below it are gone, and those above stay.
    fn write(&mut self, vq: usize) {
        if self.iter().any(|cut| cut <= vq) {
            self.insert(vq);
        }
        self.retain(|cut| cut >= vq);
    }

    fn insert(&mut self, vq: usize) {
        if (1..=VQ_MAX).contains(&vq) {
            self.0 |= 1 << (vq - 1);
        }
    }

    fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        for cut in 1..=VQ_MAX {
            if !keep(cut) {
                self.0 &= !(1 << (cut - 1));
            }
        }
    }
}

/// The set of values that a register may legally have.
///
/// A value is one of the *bases*, its *loose* slices replaced by any of their own alternatives, cut at one of the
/// cuts. The set is the product of the three: the architecture lets each register choose for itself, and an
/// observation removes what it refutes, so what was once seen zero cannot come back (HK-13).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    kind: Kind,
    bases: Vec<Slices>,
    loose: BTreeMap<usize, Vec<u128>>,
    cuts: Cuts,
}

impl Value {
    /// All bits zero.
    #[must_use]
    pub fn zero(kind: Kind) -> Self {
        Self { kind, bases: vec![[0; VQ_MAX]], loose: BTreeMap::new(), cuts: Cuts::WHOLE }
    }

    /// Any value at all.
    #[must_use]
    pub fn unknown(kind: Kind) -> Self {
        let loose = (0..VQ_MAX).map(|slice| (slice, Vec::new())).collect();
        Self { kind, bases: vec![[0; VQ_MAX]], loose, cuts: Cuts::WHOLE }
    }

    /// The kind of register.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The cuts that no observation has refuted.
    #[must_use]
    pub const fn cuts(&self) -> Cuts {
        self.cuts
    }

    /// The register was within reach at a level where the vector length is `vq` quadwords: on the way to a longer
    /// one the bits above may be found zeroed or kept (rules P-55, P-59; I_PDLWX, R_YRPDH, and
    /// `MaybeZeroSVEUppers` of the manual's pseudocode, which chooses for each register).
    pub fn narrow(&mut self, vq: usize) {
        self.cuts.narrow(vq);
    }

    /// An instruction wrote all bits below `vq` quadwords. Bits above are zeroed or kept (the pseudocode of
    /// `Z[]` and `P[]`: Unpredictable_SVEZEROUPPER), as narrowing had already allowed.
    pub fn write(&mut self, vq: usize, value: &Slices) {
        self.cuts.narrow(vq);
        self.cuts.write(vq);
        for base in &mut self.bases {
            base[..vq].copy_from_slice(&value[..vq]);
        }
        self.bases.dedup();
        self.loose.retain(|slice, _| *slice >= vq);
    }

    /// As [`Self::write`], with one of several values; `bases` is not empty.
    pub fn write_any(&mut self, vq: usize, bases: &[Slices]) {
        let old = self.bases.clone();
        self.cuts.narrow(vq);
        self.cuts.write(vq);
        self.loose.retain(|slice, _| *slice >= vq);
        self.bases.clear();
        for upper in &old {
            for lower in bases {
                let mut base = *upper;
                base[..vq].copy_from_slice(&lower[..vq]);
                if !self.bases.contains(&base) {
                    self.bases.push(base);
                }
            }
        }
    }

    /// An instruction copied the bits below `vq` quadwords of `source`, which may have several legal values.
    ///
    /// That both registers then have the same one of them is not kept: the set is larger than it need be.
    pub fn copy(&mut self, vq: usize, source: &Self) {
        let mut bases: Vec<Slices> = Vec::new();
        for (base, cut) in source.pairs() {
            let value = cut_at(base, cut.min(vq));
            if !bases.contains(&value) {
                bases.push(value);
            }
        }
        self.write_any(vq, &bases);
        for (slice, options) in source.loose.range(..vq) {
            let may_be_cut = source.cuts.iter().any(|cut| cut <= *slice);
            let mut options = options.clone();
            if may_be_cut && !options.is_empty() {
                options.push(0);
            }
            self.loosen(*slice, options);
        }
    }

    /// Lets one slice be any of `alternatives`; none stands for any value at all.
    pub fn loosen(&mut self, slice: usize, alternatives: Vec<u128>) {
        self.loose.insert(slice, alternatives);
    }

    /// The one value of the bits below `vq` quadwords, if there is only one.
    #[must_use]
    pub fn single(&self, vq: usize) -> Option<Slices> {
        if self.loose.range(..vq).next().is_some() {
            return None;
        }
        let mut values = self.pairs().map(|(base, cut)| cut_at(base, cut.min(vq)));
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }

    /// The legal values of the bits below `vq` quadwords, as bytes, at most `limit` of them. Loose slices show
    /// their first alternative.
    #[must_use]
    pub fn alternatives(&self, vq: usize, limit: usize) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for (base, cut) in self.pairs() {
            let mut value = *base;
            for (slice, options) in self.loose.range(..VQ_MAX) {
                value[*slice] = options.first().copied().unwrap_or(0);
            }
            let bytes = to_bytes(self.kind, &cut_at(&value, cut.min(vq)), vq);
            if !found.contains(&bytes) && found.len() < limit {
                found.push(bytes);
            }
        }
        found
    }

    /// Whether a slice may be anything at all, as after a reset.
    #[must_use]
    pub fn is_open(&self, slice: usize) -> bool {
        self.loose.get(&slice).is_some_and(Vec::is_empty)
    }

    /// The bits below `vq` quadwords were seen. Removes what that refutes and says whether anything is left; if
    /// not, the set is unchanged.
    pub fn observe(&mut self, vq: usize, seen: &Slices) -> bool {
        let possible: Vec<(usize, usize)> = (0..self.bases.len())
            .flat_map(|base| self.cuts.iter().map(move |cut| (base, cut)))
            .filter(|(base, cut)| self.agrees(&self.bases[*base], *cut, vq, seen))
            .collect();
        if possible.is_empty() {
            return false;
        }
        let mut index = 0;
        self.bases.retain(|_| {
            index += 1;
            possible.iter().any(|(base, _)| *base == index - 1)
        });
        self.cuts.retain(|cut| possible.iter().any(|(_, other)| *other == cut));
        let settled: Vec<usize> = self.loose.range(..vq).map(|(slice, _)| *slice).collect();
        for slice in settled {
            self.loose.remove(&slice);
            for base in &mut self.bases {
                base[slice] = seen[slice];
            }
        }
        self.bases.dedup();
        true
    }

    /// After a finding: the bits below `vq` quadwords are what was seen, so that one error is told once.
    pub fn adopt(&mut self, vq: usize, seen: &Slices) {
        self.write(vq, seen);
    }

    fn agrees(&self, base: &Slices, cut: usize, vq: usize, seen: &Slices) -> bool {
        (0..vq).all(|slice| {
            if slice >= cut {
                return seen[slice] == 0;
            }
            match self.loose.get(&slice) {
                Some(options) => options.is_empty() || options.contains(&seen[slice]),
                None => seen[slice] == base[slice],
            }
        })
    }

    fn pairs(&self) -> impl Iterator<Item = (&Slices, usize)> {
        // The longest value first: it is what most people expect to read.
        let cuts: Vec<usize> = self.cuts.iter().collect();
        self.bases.iter().flat_map(move |base| cuts.clone().into_iter().rev().map(move |cut| (base, cut)))
    }
}

/// `value` with everything from `vq` quadwords up zeroed.
#[must_use]
pub fn cut_at(value: &Slices, vq: usize) -> Slices {
    let mut cut = *value;
    cut[vq.min(VQ_MAX)..].fill(0);
    cut
}

/// The bytes below `vq` quadwords.
#[must_use]
pub fn to_bytes(kind: Kind, value: &Slices, vq: usize) -> Vec<u8> {
    value.iter().take(vq).flat_map(|slice| slice.to_le_bytes().into_iter().take(kind.slice_len())).collect()
}

/// The slices of as many bytes as there are; what is missing is zero.
#[must_use]
pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Slices {
    let mut value = [0; VQ_MAX];
    for (slice, chunk) in value.iter_mut().zip(bytes.chunks(kind.slice_len())) {
        let mut word = [0; 16];
        word[..chunk.len()].copy_from_slice(chunk);
        *slice = u128::from_le_bytes(word);
    }
    value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The naive formulation: every value of the register that can be reached, one by one.
    struct Naive(BTreeSet<Slices>);

    impl Naive {
        fn narrow(&mut self, vq: usize) {
            let zeroed: Vec<_> = self.0.iter().map(|value| cut_at(value, vq)).collect();
            self.0.extend(zeroed);
        }

        fn write(&mut self, vq: usize, new: &Slices) {
            self.narrow(vq);
            self.0 = self
                .0
                .iter()
                .map(|value| {
                    let mut value = *value;
                    value[..vq].copy_from_slice(&new[..vq]);
                    value
                })
                .collect();
        }

        fn visible(&self, vq: usize) -> BTreeSet<Slices> {
            self.0.iter().map(|value| cut_at(value, vq)).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Narrow(usize),
        Write(usize, u128),
        /// Look at this length, and see the n-th of the values that there can be.
        Observe(usize, usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (1..=VQ_MAX).prop_map(Event::Narrow),
            (1..=VQ_MAX, 1..u128::MAX / 32).prop_map(|(vq, word)| Event::Write(vq, word)),
            (1..=VQ_MAX, 0..8_usize).prop_map(|(vq, n)| Event::Observe(vq, n)),
        ];
        prop::collection::vec(event, 0..12)
    }

    fn pattern(word: u128) -> Slices {
        std::array::from_fn(|slice| word + slice as u128)
    }

    proptest! {
        #[test]
        fn the_set_is_exactly_what_can_be_reached(events in events()) {
            let mut value = Value::zero(Kind::Vector);
            let mut naive = Naive(BTreeSet::from([[0; VQ_MAX]]));
            for event in events {
                match event {
                    Event::Narrow(vq) => {
                        value.narrow(vq);
                        naive.narrow(vq);
                    }
                    Event::Write(vq, word) => {
                        value.write(vq, &pattern(word));
                        naive.write(vq, &pattern(word));
                    }
                    Event::Observe(vq, n) => {
                        let can_be = naive.visible(vq);
                        let seen = *can_be.iter().nth(n % can_be.len()).unwrap();
                        prop_assert!(value.observe(vq, &seen));
                        naive.0.retain(|value| cut_at(value, vq) == seen);
                    }
                }
                for vq in 1..=VQ_MAX {
                    let legal: BTreeSet<Slices> =
                        value.pairs().map(|(base, cut)| cut_at(base, cut.min(vq))).collect();
                    prop_assert_eq!(&legal, &naive.visible(vq));
                }
            }
        }
    }

    #[test]
    fn what_was_seen_zero_cannot_come_back() {
        let mut value = Value::zero(Kind::Vector);
        value.write(4, &pattern(7));
        value.narrow(1);
        assert!(value.clone().observe(4, &cut_at(&pattern(7), 4)));
        assert!(value.observe(4, &cut_at(&pattern(7), 1)));
        assert!(!value.observe(4, &cut_at(&pattern(7), 4)));
    }

    #[test]
    fn a_copy_may_be_whatever_its_source_may_be() {
        let mut source = Value::zero(Kind::Vector);
        source.write(4, &pattern(7));
        source.narrow(2);
        let mut copy = Value::zero(Kind::Vector);
        copy.write(16, &pattern(100));
        copy.copy(3, &source);
        let mut kept = pattern(100);
        kept[..3].copy_from_slice(&pattern(7)[..3]);
        assert!(copy.clone().observe(16, &kept));
        kept[2] = 0;
        assert!(copy.clone().observe(16, &kept));
        assert!(copy.clone().observe(16, &cut_at(&kept, 3)));
        kept[1] = 0;
        assert!(!copy.observe(16, &kept));
        let mut unknown = Value::zero(Kind::Predicate);
        unknown.copy(2, &Value::unknown(Kind::Predicate));
        assert!(unknown.is_open(1) && !unknown.is_open(2));
    }

    #[test]
    fn half_a_cut_is_not_legal() {
        let mut value = Value::zero(Kind::Vector);
        value.write(4, &pattern(7));
        value.narrow(1);
        assert!(!value.observe(4, &cut_at(&pattern(7), 2)));
    }

    #[test]
    fn bytes_and_slices() {
        let bytes: Vec<u8> = (1..=8).collect();
        let slices = from_bytes(Kind::Predicate, &bytes);
        assert_eq!(slices[1], 0x0403);
        assert_eq!(to_bytes(Kind::Predicate, &slices, 4), bytes);
    }
}
