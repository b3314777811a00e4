//! Whether vectors, their codes and their lists agree.

use roaring::RoaringBitmap;

use super::{
    Lists,
    codes::{Codes, Quantiser, code_at, is_live, numbers, words},
    lists::{self, List},
    rows::RowReader,
};
use crate::{error::Result, recall::namespace::Namespace, store::Read};

/// Tells where they do not; `known` are the numbers of items and passages.
pub(in crate::recall) fn check(
    read: &Read<'_>,
    namespace: &Namespace,
    known: &RoaringBitmap,
    tell: &mut dyn FnMut(String),
) -> Result<()> {
    let quantiser = Quantiser::read(read, namespace)?;
    let codes = if quantiser.is_some() { Codes::all(read, namespace)? } else { Vec::new() };
    let mut rows = RowReader::new(read, namespace);
    let (mut vectors, mut uncoded, mut wrong) = (0_u64, 0_u64, 0_u64);
    for number in known {
        let row = if namespace.vectors == 0 { None } else { rows.get(number)? };
        let live = is_live(&codes, number);
        vectors += u64::from(row.is_some());
        if number < namespace.coded && row.is_some() != live {
            uncoded += 1;
        }
        if let (Some(row), Some(quantiser), true) = (row, &quantiser, live) {
            wrong += u64::from(code_of(&codes, namespace, number) != quantiser.code(numbers(row)));
        }
    }
    if vectors != namespace.vectors {
        tell(format!("there are {vectors} vectors, and {} are noted", namespace.vectors));
    }
    if uncoded + wrong > 0 {
        tell(format!("{uncoded} vectors have no code, or codes no vector, and {wrong} have a wrong one"));
    }
    let live: RoaringBitmap = codes.iter().flat_map(Codes::items).collect();
    let foreign = (&live - known).len();
    if foreign > 0 {
        tell(format!("{foreign} codes are of items that are not there"));
    }
    if let Some(serving) = Lists::of(namespace) {
        let mut listed = RoaringBitmap::new();
        for value in lists::locate_all(read, namespace, serving.version, serving.count)? {
            if !value.is_empty() {
                let list = List::parse(value, namespace.dimensions)?;
                listed.extend((0..list.len() as u32).filter_map(|place| list.item(place)));
            }
        }
        let mut expected = live;
        expected.remove_range(serving.covered..);
        let missing = (expected - listed).len();
        if missing > 0 {
            tell(format!("{missing} vectors are in no list and would not be found"));
        }
    }
    Ok(())
}

fn code_of(codes: &[Codes<'_>], namespace: &Namespace, number: u32) -> Vec<u64> {
    let block = super::codes::place(codes, number).and_then(|at| codes.get(at));
    block.map_or_else(Vec::new, |block| {
        code_at(block.groups, (number - block.first) as usize, words(namespace.dimensions))
    })
}
