//! `.npy` and `.npz` files, numpy's formats.
//!
//! What numpy cannot name travels as ml_dtypes does it: bf16 and the 8-bit floats as void types of their size, integers
//! and floats below a byte as one byte per element. Such files are read where an element type is expected.
//!
//! Format: numpy.lib.format, versions 1 to 3. The header is parsed here, as parsers at hand overflow on hostile extents.

use planc_tensor::{AlignedBuf, Bytes, DType, Tensor, contiguous_strides, element_count};
use std::io::Read;

/// The header of an array.
#[derive(Debug, PartialEq)]
struct Header {
    /// `<`, `>`, `|` or `=`.
    order: u8,
    /// Kind of element: `f`, `i`, `u`, `b`, `c`, `V`, `U`, `S`...
    kind: u8,
    /// Bytes of an element; for `U`, characters.
    size: usize,
    fortran: bool,
    shape: Vec<usize>,
    /// Where the elements start.
    data: usize,
}

/// What is left of a header's text.
struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    /// Whether `token` comes next; it is taken then.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.trim_start();
        let found = rest.strip_prefix(token);
        self.0 = found.unwrap_or(rest);
        found.is_some()
    }

    /// The text up to `end`, which is taken too.
    fn until(&mut self, end: char) -> Option<&'t str> {
        let (text, rest) = self.0.split_once(end)?;
        self.0 = rest;
        Some(text)
    }

    fn quoted(&mut self) -> Option<&'t str> {
        let quote = if self.take("'") { '\'' } else { self.take("\"").then_some('"')? };
        self.until(quote)
    }
}

fn header(bytes: &[u8]) -> Result<Header, String> {
    let not = "not an .npy file";
    let version = bytes.strip_prefix(b"\x93NUMPY").and_then(|b| b.first()).ok_or(not)?;
    let (start, len) = match (version, bytes.get(8..12)) {
        (1, Some(n)) => (10, usize::from(u16::from_le_bytes([n[0], n[1]]))),
        (2 | 3, Some(n)) => (12, u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize),
        _ => return Err(format!("{not} of a known version")),
    };
    let data = start + len;
    let text = bytes.get(start..data).ok_or("the header is longer than the file")?;
    let text = std::str::from_utf8(text).map_err(|_| "the header is not valid UTF-8")?;
    let mut c = Cursor(text);
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    let bad = "the header is malformed";
    if !c.take("{") {
        return Err(bad.into());
    }
    while !c.take("}") {
        let key = c.quoted().filter(|_| c.take(":")).ok_or(bad)?;
        match key {
            "descr" if c.take("[") => return Err("structured arrays are not supported".into()),
            "descr" => descr = Some(c.quoted().ok_or(bad)?),
            "fortran_order" => fortran = if c.take("True") { Some(true) } else { c.take("False").then_some(false) },
            "shape" => {
                let inner = if c.take("(") { c.until(')').ok_or(bad)? } else { return Err(bad.into()) };
                let parts = inner.split(',').map(|p| p.trim().trim_end_matches('L')).filter(|p| !p.is_empty());
                let extents: Result<Vec<usize>, _> = parts.map(str::parse).collect();
                shape = Some(extents.map_err(|_| "the shape is too large or malformed")?);
            }
            _ => return Err(bad.into()),
        }
        c.take(",");
    }
    let (descr, fortran, shape) = (descr.ok_or(bad)?, fortran.ok_or(bad)?, shape.ok_or(bad)?);
    let unsupported = || format!("the type {descr:?} is not supported");
    let ([order, kind], size) = descr.as_bytes().split_first_chunk::<2>().ok_or_else(unsupported)?;
    let size = std::str::from_utf8(size).ok().and_then(|s| s.parse().ok()).ok_or_else(unsupported)?;
    Ok(Header { order: *order, kind: *kind, size, fortran, shape, data })
}

/// Reads an array. `expected` decides where the file's type is ambiguous.
///
/// # Errors
/// What is wrong with the file, in one sentence.
pub fn parse(bytes: &Bytes, expected: Option<DType>) -> Result<Tensor, String> {
    let Header { order, kind, size, fortran, shape, data } = header(bytes.as_slice())?;
    let data = bytes.slice(data, bytes.len().saturating_sub(data)).ok_or("the file is truncated")?;
    let array = Array { shape, data, fortran };
    let big = order == b'>';
    if kind == b'U' || kind == b'S' {
        return array.strings(size, kind == b'U', big);
    }
    let dtype = match (kind, size) {
        (b'b', 1) => DType::Bool,
        (b'i', 1) => DType::I8,
        (b'i', 2) => DType::I16,
        (b'i', 4) => DType::I32,
        (b'i', 8) => DType::I64,
        (b'u', 1) => DType::U8,
        (b'u', 2) => DType::U16,
        (b'u', 4) => DType::U32,
        (b'u', 8) => DType::U64,
        (b'f', 2) => DType::F16,
        (b'f', 4) => DType::F32,
        (b'f', 8) => DType::F64,
        (b'c', 8) => DType::C64,
        (b'c', 16) => DType::C128,
        (b'V', n) => match expected {
            Some(e) if e.size() == Some(n) && is_void(e) => e,
            Some(e) if n == 1 && e.bits() < 8 && e.is_float() => DType::U8,
            _ => return Err(format!("the type V{n} is not supported here")),
        },
        _ => return Err(format!("the type {}{size} is not supported", char::from(kind))),
    };
    // The swapped unit of a complex number is one of its halves.
    let unit = if kind == b'c' { size / 2 } else { size };
    let tensor = array.elements(dtype, size, if big { unit } else { 1 })?;
    match expected {
        Some(e) if e.bits() < 8 && e != DType::String && dtype.size() == Some(1) => pack(&tensor, e),
        _ => Ok(tensor),
    }
}

/// Whether numpy knows `dtype` as raw bytes only.
fn is_void(dtype: DType) -> bool {
    use DType::*;
    matches!(dtype, BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0)
}

/// Strings without a character that an array may have.
const MAX_EMPTY_STRINGS: usize = 1 << 20;

/// What the header says, and the bytes behind it.
struct Array {
    shape: Vec<usize>,
    data: Bytes,
    fortran: bool,
}

impl Array {
    /// The bytes of `count` elements of `size` bytes each, in C order.
    fn ordered(&self, size: usize) -> Result<Bytes, String> {
        let count = element_count(&self.shape).ok_or("the shape is too large")?;
        let need = count.checked_mul(size).ok_or("the shape is too large")?;
        let have = self.data.len();
        let data =
            self.data.slice(0, need).ok_or_else(|| format!("truncated: {need} bytes expected, {have} present"))?;
        if !self.fortran || self.shape.len() < 2 {
            return Ok(data);
        }
        let reversed: Vec<usize> = self.shape.iter().rev().copied().collect();
        let strides: Vec<usize> = contiguous_strides(&reversed).into_iter().rev().collect();
        let mut out = AlignedBuf::zeroed(need);
        let mut index = vec![0; self.shape.len()];
        for to in out.as_mut_slice().chunks_exact_mut(size.max(1)) {
            let from: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
            to.copy_from_slice(&data.as_slice()[from * size..][..size]);
            for (i, extent) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *extent {
                    break;
                }
                *i = 0;
            }
        }
        Ok(Bytes::new(out))
    }

    fn elements(self, dtype: DType, size: usize, swapped: usize) -> Result<Tensor, String> {
        let mut data = self.ordered(size)?;
        let unaligned = !data.as_slice().as_ptr().addr().is_multiple_of(size.clamp(1, 8));
        if swapped > 1 || unaligned {
            let mut copy = AlignedBuf::zeroed(data.len());
            copy.as_mut_slice().copy_from_slice(data.as_slice());
            if swapped > 1 {
                copy.as_mut_slice().chunks_exact_mut(swapped).for_each(<[u8]>::reverse);
            }
            data = Bytes::new(copy);
        }
        Tensor::from_bytes(dtype, self.shape, data).map_err(|e| e.to_string())
    }

    /// Strings are padded with zeros; `size` counts characters of UTF-32, or bytes.
    fn strings(self, size: usize, wide: bool, big: bool) -> Result<Tensor, String> {
        let bytes = size.checked_mul(if wide { 4 } else { 1 }).ok_or("the strings are too long")?;
        let data = self.ordered(bytes)?;
        let count = element_count(&self.shape).ok_or("the shape is too large")?;
        let text = |i: usize| {
            let raw = &data.as_slice()[i * bytes..][..bytes];
            if !wide {
                let end = raw.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
                return String::from_utf8(raw[..end].to_vec()).map_err(|_| "a string is not valid UTF-8".to_string());
            }
            let units = raw
                .as_chunks::<4>()
                .0
                .iter()
                .map(|u| if big { u32::from_be_bytes(*u) } else { u32::from_le_bytes(*u) });
            let mut units: Vec<u32> = units.collect();
            units.truncate(units.iter().rposition(|u| *u != 0).map_or(0, |at| at + 1));
            let chars =
                units.into_iter().map(|u| char::from_u32(u).ok_or("a string has an invalid character".to_string()));
            chars.collect()
        };
        // Empty strings take no bytes in the file, so that its size is no limit.
        if bytes == 0 && count > MAX_EMPTY_STRINGS {
            return Err("there are too many strings".into());
        }
        let strings: Vec<String> = (0..count).map(text).collect::<Result<_, String>>()?;
        Tensor::from_strings(self.shape, strings).map_err(|e| e.to_string())
    }
}

/// One element per byte to packed elements.
fn pack(t: &Tensor, dtype: DType) -> Result<Tensor, String> {
    let (bits, view) = (dtype.bits(), t.view());
    let range = match dtype {
        DType::I4 | DType::I2 => -(1i16 << (bits - 1))..1 << (bits - 1),
        _ => 0..1 << bits,
    };
    let mut out = vec![0u8; dtype.bytes_for(t.len()).ok_or("the shape is too large")?];
    for (i, byte) in view.bytes().iter().enumerate() {
        let value = if view.dtype() == DType::I8 { i16::from(*byte as i8) } else { i16::from(*byte) };
        if !range.contains(&value) {
            return Err(format!("the value {value} does not fit {dtype}"));
        }
        let per_byte = 8 / bits;
        out[i / per_byte] |= (*byte & ((1 << bits) - 1)) << (bits * (i % per_byte));
    }
    Tensor::from_bytes(dtype, t.shape(), Bytes::new(out)).map_err(|e| e.to_string())
}

/// The bytes of an `.npy` file with `tensor`.
pub fn bytes(tensor: &Tensor) -> Vec<u8> {
    use DType::*;
    let view = tensor.view();
    let (descr, data) = match tensor.dtype() {
        Bool => ("|b1".to_string(), view.bytes().to_vec()),
        I8 | U8 | I16 | U16 | I32 | U32 | I64 | U64 | F16 | F32 | F64 | C64 | C128 => {
            let size = tensor.dtype().size().unwrap_or(1);
            let letter = match tensor.dtype() {
                I8 | I16 | I32 | I64 => 'i',
                F16 | F32 | F64 => 'f',
                C64 | C128 => 'c',
                _ => 'u',
            };
            (format!("{}{letter}{size}", if size == 1 { '|' } else { '<' }), view.bytes().to_vec())
        }
        BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => {
            (format!("|V{}", tensor.dtype().size().unwrap_or(1)), view.bytes().to_vec())
        }
        I4 | I2 => ("|i1".to_string(), unpack(tensor)),
        U4 | U2 => ("|u1".to_string(), unpack(tensor)),
        F4E2M1 => ("|V1".to_string(), unpack(tensor)),
        String => {
            let strings = view.as_strings();
            // numpy has no strings of length 0.
            let width = strings.iter().map(|s| s.chars().count()).max().unwrap_or(0).max(1);
            let padded = strings.iter().flat_map(|s| s.chars().map(u32::from).chain(std::iter::repeat(0)).take(width));
            (format!("<U{width}"), padded.flat_map(u32::to_le_bytes).collect())
        }
    };
    let dims: Vec<_> = tensor.shape().iter().map(|d| format!("{d},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.join(" "));
    // The data starts at a multiple of 64; magic, version and length take 10 bytes, the line ending one.
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut out = Vec::with_capacity(10 + padded + data.len());
    out.extend_from_slice(b"\x93NUMPY\x01\x00");
    out.extend_from_slice(&u16::try_from(padded).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(10 + padded - 1, b' ');
    out.push(b'\n');
    out.extend_from_slice(&data);
    out
}

/// Packed elements to one per byte; integers are sign-extended.
fn unpack(t: &Tensor) -> Vec<u8> {
    let view = t.view();
    match view.unpack_sub_byte() {
        Some(elements) => elements.into_iter().map(|v| v as u8).collect(),
        None => {
            let element = |i: usize| (view.bytes()[i / 2] >> (4 * (i % 2))) & 15;
            (0..t.len()).map(element).collect()
        }
    }
}

/// Reads all arrays of an `.npz` file, sorted by name.
///
/// # Errors
/// What is wrong with the file, in one sentence.
pub fn parse_npz(bytes: &Bytes, expected: &dyn Fn(&str) -> Option<DType>) -> Result<Vec<(String, Tensor)>, String> {
    let not = |e: zip::result::ZipError| format!("not an .npz file: {}", e.to_string().to_lowercase());
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes.as_slice())).map_err(not)?;
    let mut names: Vec<String> =
        archive.file_names().filter_map(|n| n.strip_suffix(".npy")).map(str::to_string).collect();
    names.sort();
    let mut arrays = Vec::with_capacity(names.len());
    for name in names {
        let fail = |what: &str| format!("array {name:?}: {what}");
        let mut entry = archive.by_name(&format!("{name}.npy")).map_err(|e| fail(&e.to_string().to_lowercase()))?;
        let size = entry.size();
        // A compressed archive can say anything; deflate reaches a factor of 1032.
        if size / 1032 > bytes.len() as u64 {
            return Err(fail("the archive is damaged: its size is impossible"));
        }
        let mut data = Vec::new();
        (&mut entry).take(size).read_to_end(&mut data).map_err(|e| fail(&super::system(&e)))?;
        let tensor = parse(&Bytes::new(data), expected(&name)).map_err(|e| fail(&e))?;
        arrays.push((name, tensor));
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Bytes {
        let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(data);
        Bytes::new(out)
    }

    #[test]
    fn what_is_written_is_read() {
        let strings = Tensor::from_strings(vec![1, 3], vec!["".into(), "aé".into(), "b".into()]).unwrap();
        let i4 = Tensor::from_bytes(DType::I4, vec![3], Bytes::new(vec![0xF1u8, 0x08])).unwrap();
        let f4 = Tensor::from_bytes(DType::F4E2M1, vec![3], Bytes::new(vec![0xF1u8, 0x08])).unwrap();
        let bf16 = Tensor::from_bytes(DType::BF16, vec![2], Bytes::new(vec![0u8, 63, 0, 64])).unwrap();
        let f32s = Tensor::new(vec![2, 1, 3], vec![1f32, 2., 3., 4., 5., 6.]).unwrap();
        let empty = Tensor::new(vec![0, 3], Vec::<i64>::new()).unwrap();
        for t in [strings, i4, f4, bf16, f32s, empty, Tensor::scalar(true), Tensor::vector(vec![-1i8])] {
            assert_eq!(parse(&Bytes::new(bytes(&t)), Some(t.dtype())).unwrap(), t);
        }
    }

    #[test]
    fn other_orders_are_turned() {
        let fortran = parse(&file("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6]), None).unwrap();
        assert_eq!(fortran.as_slice::<u8>().unwrap(), [1, 2, 3, 4, 5, 6]);
        let big = parse(&file(">i2", "False", "(2,)", &[0, 1, 1, 0]), None).unwrap();
        assert_eq!(big.as_slice::<i16>().unwrap(), [1, 256]);
    }

    #[test]
    fn headers() {
        let text = b"\x93NUMPY\x01\x00\x3e\x00{\"shape\": (2L, 3), 'fortran_order': False,'descr' : '<f4'}          \n";
        let expected = Header { order: b'<', kind: b'f', size: 4, fortran: false, shape: vec![2, 3], data: 72 };
        assert_eq!(header(&[&text[..], &[b' '; 20]].concat()), Ok(expected));
    }

    #[test]
    fn archives() {
        let (a, b) = (Tensor::vector(vec![1f32, 2.0]), Tensor::scalar(3i64));
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let packed = stored.compression_method(zip::CompressionMethod::Deflated);
        for (name, t, options) in [("b.npy", &b, packed), ("a/x.npy", &a, stored)] {
            writer.start_file(name, options).unwrap();
            std::io::Write::write_all(&mut writer, &bytes(t)).unwrap();
        }
        let file = Bytes::new(writer.finish().unwrap().into_inner());
        assert_eq!(parse_npz(&file, &|_| None).unwrap(), [("a/x".to_string(), a), ("b".to_string(), b)]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            Bytes::new(b"nonsense".to_vec()),
            Bytes::new(b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec()),
            file("<f4", "False", "(2,)", &[0; 7]),
            file("<f4", "False", "(99999999999999, 99999999999999)", &[0; 8]),
            file("|O", "False", "(1,)", &[0; 8]),
            file("<U9999999999999999999", "False", "(1,)", &[0; 8]),
            file("|S0", "False", "(99999999999999,)", &[]),
            file("|i1", "False", "(1,)", &[9]),
        ] {
            assert!(parse(&bad, Some(DType::I4)).is_err());
        }
        assert!(parse_npz(&Bytes::new(b"PK\x03\x04".to_vec()), &|_| None).is_err());
    }
}
