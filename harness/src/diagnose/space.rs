//! From an address in the running machine to the image that lies there.

use std::fmt;
use std::rc::Rc;

use super::{Position, Symbols};
use crate::events::{self, Hex};
use crate::target::Target;

/// An image in guest memory.
#[derive(Clone, Debug)]
pub struct Loaded<'a> {
    /// Its name, as reports show it.
    pub name: String,
    /// Where its link-time address 0 lies.
    pub base: u64,
    /// Bytes that it has there.
    pub size: u64,
    /// Its symbols.
    pub symbols: Rc<Symbols<'a>>,
}

/// Every image in the memory of one machine.
#[derive(Clone, Debug, Default)]
pub struct Space<'a> {
    images: Vec<Loaded<'a>>,
}

/// An address in a loaded image.
#[derive(Clone, Debug)]
pub struct Located {
    /// The image's name.
    pub image: String,
    /// The address in the machine.
    pub address: u64,
    /// The link-time address.
    pub offset: u64,
    /// Function and lines, if the image has code with a name there.
    pub position: Option<Position>,
}

/// `scenario::run+0x1c`, or the image with an offset where it has no symbol.
impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Some(position) => position.fmt(f),
            None => write!(f, "{}!{:#x}", self.image, self.offset),
        }
    }
}

impl<'a> Space<'a> {
    /// A space with these images, the outermost hypervisor first. Where two overlap the first is found.
    #[must_use]
    pub const fn new(images: Vec<Loaded<'a>>) -> Self {
        Self { images }
    }

    /// Where an address is; `None` if no image lies there.
    #[must_use]
    pub fn locate(&self, address: u64) -> Option<Located> {
        self.images.iter().find_map(|image| {
            let offset = address.checked_sub(image.base).filter(|offset| *offset < image.size)?;
            let position = image.symbols.position(offset);
            Some(Located { image: image.name.clone(), address, offset, position })
        })
    }

    /// The address for people: symbol and offset, image and offset, or the bare number.
    #[must_use]
    pub fn describe(&self, address: u64) -> String {
        self.locate(address).map_or_else(|| format!("{address:#x}"), |located| located.to_string())
    }

    /// The address as the event log stores it; `None` if no image lies there.
    #[must_use]
    pub fn event(&self, what: &str, address: u64) -> Option<events::Position> {
        let located = self.locate(address)?;
        Some(events::Position {
            what: what.to_owned(),
            image: located.image.clone(),
            address: Hex(address),
            symbol: located.to_string(),
            frames: located.position.map(|position| position.frames).unwrap_or_default(),
        })
    }

    /// The outermost image: the hypervisor under test where there is one.
    #[must_use]
    pub fn outermost(&self) -> Option<&Loaded<'a>> {
        self.images.first()
    }
}

impl Space<'static> {
    /// The images of a target. One whose symbols cannot be read is left out: then there are addresses instead
    /// of names, and the verdicts are what they are.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let mut images: Vec<Loaded<'static>> = Vec::new();
        for layer in target.layers() {
            let name = layer.image.name();
            // Copies of one image have one set of symbols.
            let known = images.iter().find(|known| known.name == name).map(|known| Rc::clone(&known.symbols));
            let symbols = known.or_else(|| Symbols::new(layer.image.elf()).ok().map(Rc::new));
            if let Some(symbols) = symbols {
                let (base, size) = (layer.base, layer.image.size());
                images.push(Loaded { name: name.to_owned(), base, size, symbols });
            }
        }
        Self { images }
    }
}
