//! Reads a safetensors file: its head is checked before any tensor is loaded.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// Longest head the format allows.
const MAX_HEAD: u64 = 100_000_000;

#[derive(Debug, Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A tensor.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) shape: Vec<usize>,
    /// Last dimension first.
    pub(super) values: Vec<f32>,
}

/// The f32 tensors of `file`, by name. Tensors of whole numbers are left out: the models here have no use for them.
///
/// # Errors
/// `Corrupt` when it is not a whole safetensors file; `Unsupported` for tensors of other kinds.
pub(super) fn read(file: &mut File, len: u64) -> Result<HashMap<String, Numbers>> {
    let (head, data_offset) = read_head(&mut *file, len)?;
    let mut tensors = HashMap::new();
    for (name, info) in head.into_iter().filter(|(_, info)| info.dtype == "F32") {
        let [begin, end] = info.data_offsets;
        let unreadable = |e| corrupt(format!("tensor \"{name}\" cannot be read")).caused_by(e);
        file.seek(SeekFrom::Start(data_offset + begin)).map_err(unreadable)?;
        let mut bytes = vec![0; (end - begin) as usize];
        file.read_exact(&mut bytes).map_err(unreadable)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let values = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
        let shape = info.shape.iter().map(|&dim| dim as usize).collect();
        tensors.insert(name, Numbers { shape, values });
    }
    Ok(tensors)
}

/// The checked head, and where the data begins.
fn read_head(mut file: impl Read, len: u64) -> Result<(BTreeMap<String, TensorInfo>, u64)> {
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|e| corrupt("not a model; expected a safetensors file").caused_by(e))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEAD || size > len.saturating_sub(8) {
        return Err(corrupt(format!("the head claims {size} bytes; expected at most those of the file, {len}")));
    }
    let mut head = vec![0; size as usize];
    file.read_exact(&mut head).map_err(|e| corrupt("the file ends inside its head").caused_by(e))?;
    let head: BTreeMap<String, Value> = serde_json::from_slice(&head)
        .map_err(|e| corrupt("the head is not JSON; expected safetensors").caused_by(e))?;
    let mut infos = BTreeMap::new();
    let mut places = BTreeSet::new();
    for (name, value) in head.into_iter().filter(|(name, _)| name != "__metadata__") {
        let info: TensorInfo = serde_json::from_value(value)
            .map_err(|e| corrupt("a tensor is not described; expected dtype, shape and data_offsets").caused_by(e))?;
        let [begin, end] = info.data_offsets;
        let elements = info.shape.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
        let bytes = elements.and_then(|n| n.checked_mul(bytes_of(&info.dtype, &name).ok()?));
        bytes_of(&info.dtype, &name)?;
        if bytes.is_none() || end.checked_sub(begin) != bytes || end > len - 8 - size {
            return Err(corrupt(format!(
                "tensor \"{name}\" lies at {begin} to {end} and has the shape {:?}; expected it inside the file: download \
                 it again",
                info.shape
            )));
        }
        places.insert((begin, end));
        infos.insert(name, info);
    }
    if places.len() != infos.len() || places.iter().zip(places.iter().skip(1)).any(|(one, next)| one.1 > next.0) {
        return Err(corrupt("tensors overlap; expected each at a place of its own"));
    }
    Ok((infos, 8 + size))
}

fn bytes_of(dtype: &str, name: &str) -> Result<u64> {
    match dtype {
        "F32" => Ok(4),
        "I64" | "U64" => Ok(8),
        other => {
            let message = format!("tensor \"{name}\" is of kind {other}; only models in F32 can be loaded");
            Err(Error::new(ErrorKind::Unsupported, message).during("LocalEmbedder::load"))
        }
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message).during("LocalEmbedder::load")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(head: &str, data: usize) -> Vec<u8> {
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &vec![0; data]].concat()
    }

    fn read(bytes: &[u8]) -> Result<(BTreeMap<String, TensorInfo>, u64)> {
        read_head(bytes, bytes.len() as u64)
    }

    const HEAD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}"#;

    #[test]
    fn heads_are_checked() {
        let (infos, at) = read(&file(HEAD, 32)).unwrap();
        assert_eq!((infos.len(), at), (2, 8 + HEAD.len() as u64));
        let kind = |bytes: &[u8]| read(bytes).unwrap_err().kind();
        assert_eq!(kind(&file(HEAD, 31)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("[24,32]", "[20,28]"), 32)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("[2,3]", "[2,4]"), 32)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("[2,3]", "[9223372036854775807,3]"), 32)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("I64", "F16"), 32)), ErrorKind::Unsupported);
        assert_eq!(kind(&u64::MAX.to_le_bytes()), ErrorKind::Corrupt);
        assert_eq!(kind(b""), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at in 0_usize..200, value in any::<u8>(), cut in 0_usize..300) {
            let mut bytes = file(HEAD, 32);
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(cut.max(1));
            if let Ok((infos, start)) = read(&bytes) {
                prop_assert!(infos.values().all(|info| start + info.data_offsets[1] <= bytes.len() as u64));
            }
        }
    }
}
