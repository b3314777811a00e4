//! Long lists of numbers as text, exact and a quarter as long as JSON would make them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

fn read<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<Vec<[u8; N]>, D::Error> {
    let bytes = STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)?;
    let (parts, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(D::Error::custom("a list of numbers is cut off"));
    }
    Ok(parts.to_vec())
}

fn write<S: Serializer, const N: usize>(numbers: impl Iterator<Item = [u8; N]>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&STANDARD.encode(numbers.flatten().collect::<Vec<_>>()))
}

/// Numbers of four bytes.
pub(super) mod f32s {
    use super::{Deserializer, Serializer, read, write};

    pub(in super::super) fn serialize<S: Serializer>(numbers: &[f32], to: S) -> Result<S::Ok, S::Error> {
        write(numbers.iter().map(|n| n.to_le_bytes()), to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        Ok(read::<D, 4>(from)?.into_iter().map(f32::from_le_bytes).collect())
    }
}

/// Numbers of eight bytes.
pub(super) mod f64s {
    use super::{Deserializer, Serializer, read, write};

    pub(in super::super) fn serialize<S: Serializer>(numbers: &[f64], to: S) -> Result<S::Ok, S::Error> {
        write(numbers.iter().map(|n| n.to_le_bytes()), to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        Ok(read::<D, 8>(from)?.into_iter().map(f64::from_le_bytes).collect())
    }
}

/// Shared numbers of eight bytes.
pub(super) mod shared {
    use std::sync::Arc;

    use super::{Deserializer, Serializer, f64s};

    pub(in super::super) fn serialize<S: Serializer>(numbers: &Arc<Vec<f64>>, to: S) -> Result<S::Ok, S::Error> {
        f64s::serialize(numbers, to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Vec<f64>>, D::Error> {
        f64s::deserialize(from).map(Arc::new)
    }
}

/// Shared numbers of four bytes.
pub(super) mod shared_f32s {
    use std::sync::Arc;

    use super::{Deserializer, Serializer, f32s};

    pub(in super::super) fn serialize<S: Serializer>(numbers: &Arc<Vec<f32>>, to: S) -> Result<S::Ok, S::Error> {
        f32s::serialize(numbers, to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Vec<f32>>, D::Error> {
        f32s::deserialize(from).map(Arc::new)
    }
}
