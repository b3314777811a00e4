//! What a ranking needs to know of an item without reading its record.

use super::{
    column::{ColumnReader, NewColumn},
    namespace::Namespace,
    rows::malformed,
};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// Bytes of a slot.
const BYTES: usize = 32;
/// No item.
const NONE: u32 = u32::MAX;

/// What a ranking needs to know of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Slot {
    /// The item before it in its session, or the passage before it in its text.
    pub(super) before: Option<u32>,
    /// The one after it.
    pub(super) after: Option<u32>,
    /// Whose passage it is; none for an item that was stored as a whole.
    pub(super) parent: Option<u32>,
    /// The number of who said it, see `speakers`; 0 for nobody.
    pub(super) speaker: u32,
    /// Words of it.
    pub(super) length: u32,
    /// 0 to 1; none when nothing was said of it.
    pub(super) importance: Option<f32>,
    /// From when on it holds, or when it was stored, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
}

impl Slot {
    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let numbers = [
            self.before.unwrap_or(NONE),
            self.after.unwrap_or(NONE),
            self.parent.unwrap_or(NONE),
            self.speaker,
            self.length,
            self.importance.unwrap_or(f32::NAN).to_bits(),
        ];
        for (bytes, number) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
            *bytes = number.to_le_bytes();
        }
        bytes[24..].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let numbers = bytes.as_chunks::<4>().0;
        let number = |at: usize| u32::from_le_bytes(numbers[at]);
        let item = |at: usize| Some(number(at)).filter(|item| *item != NONE);
        let importance = f32::from_bits(number(5));
        Self {
            before: item(0),
            after: item(1),
            parent: item(2),
            speaker: number(3),
            length: number(4),
            importance: (!importance.is_nan()).then_some(importance),
            at_ms: i64::from(number(6)) | i64::from(number(7)) << 32,
        }
    }
}

/// Reads slots in one snapshot. What it gives of an item that was forgotten means nothing.
#[derive(Debug)]
pub(super) struct SlotReader<'t>(ColumnReader<'t, BYTES>);

impl<'t> SlotReader<'t> {
    pub(super) fn new(read: &Read<'t>) -> Self {
        Self(ColumnReader::new(read.tables.slots))
    }

    /// The slot of an item that is there.
    pub(super) fn get(&mut self, read: &Read<'t>, namespace: &Namespace, item: u32) -> Result<Slot> {
        self.0.get(read, namespace, item)?.map(Slot::from_bytes).ok_or_else(|| malformed("slots"))
    }
}

/// What a transaction does to slots.
#[derive(Debug, Default)]
pub(super) struct NewSlots(NewColumn<BYTES>);

impl NewSlots {
    pub(super) fn get(&mut self, write: &Write<'_, '_>, namespace: &Namespace, item: u32) -> Result<Slot> {
        let slot = self.0.get(write, write.tables.slots, namespace, item)?;
        slot.as_ref().map(Slot::from_bytes).ok_or_else(|| malformed("slots"))
    }

    pub(super) fn put(&mut self, write: &Write<'_, '_>, namespace: &Namespace, item: u32, slot: Slot) -> Result<()> {
        self.0.put(write, write.tables.slots, namespace, item, &slot.to_bytes())
    }

    /// Changes the slot of an item that is there.
    pub(super) fn change(
        &mut self,
        write: &Write<'_, '_>,
        namespace: &Namespace,
        item: u32,
        change: impl FnOnce(&mut Slot),
    ) -> Result<()> {
        let mut slot = self.get(write, namespace, item)?;
        change(&mut slot);
        self.put(write, namespace, item, slot)
    }

    /// Links two items that follow each other.
    pub(super) fn link(
        &mut self,
        write: &Write<'_, '_>,
        namespace: &Namespace,
        before: Option<u32>,
        after: Option<u32>,
    ) -> Result<()> {
        if let Some(item) = before {
            self.change(write, namespace, item, |slot| slot.after = after)?;
        }
        if let Some(item) = after {
            self.change(write, namespace, item, |slot| slot.before = before)?;
        }
        Ok(())
    }

    pub(super) fn write(self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        let table = write.tables.slots;
        self.0.write(write, table, namespace)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slot_comes_back(
            items in prop::array::uniform3(prop::option::of(0..NONE)),
            (speaker, length, at_ms) in (any::<u32>(), any::<u32>(), any::<i64>()),
            importance in prop::option::of(0.0_f32..=1.0),
        ) {
            let [before, after, parent] = items;
            let slot = Slot { before, after, parent, speaker, length, importance, at_ms };
            prop_assert_eq!(Slot::from_bytes(&slot.to_bytes()), slot);
        }
    }
}
