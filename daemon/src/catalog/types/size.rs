//! Amounts of bytes.

/// Unit and its bytes, in falling order.
const UNITS: [(char, u64); 3] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10)];
/// Largest amount, in bytes: 1024 TiB.
const BYTES_MAX: u64 = 1 << 50;

/// An amount like `512`, `64k`, `16m` or `2g`, in the largest unit that needs no fraction: `2048k` is `2m`.
pub(super) fn canonical(raw: &str) -> Option<String> {
    let last = raw.chars().last()?.to_ascii_lowercase();
    let unit = UNITS.iter().find(|(name, _)| *name == last);
    let digits = if unit.is_some() { &raw[..raw.len() - 1] } else { raw };
    let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let bytes =
        number.checked_mul(unit.map_or(1, |(_, bytes)| *bytes)).filter(|bytes| *bytes <= BYTES_MAX)?;
    let whole = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    Some(whole.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit)))
}
