//! Pages: bounded in rows and in bytes, with tokens that only this installation can make and that fit only the list they came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use super::check;
use crate::engine::{Engine, Refusal};

/// Largest page, in bytes: well below the largest message.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Length of the seal in a token, in characters.
const SEAL_CHARS: usize = 16;

/// Which page of which list.
pub(super) struct Page<'a> {
    engine: &'a Engine,
    scope: Vec<u8>,
    /// Key of the last row of the page before; empty for the first page.
    pub(super) after: String,
    size: usize,
}

impl<'a> Page<'a> {
    /// The page that a request asks for. `list` is the request without its page fields, so that a token of other filters is refused.
    pub(super) fn new(
        engine: &'a Engine,
        method: &str,
        list: &impl Message,
        page_size: u32,
        page_token: &str,
    ) -> Result<Self, Refusal> {
        let size = usize::try_from(check::page_size(page_size)?).unwrap_or(usize::MAX);
        let scope = [method.as_bytes(), &list.encode_to_vec()].concat();
        let mut page = Self { engine, scope, after: String::new(), size };
        if !page_token.is_empty() {
            page.after = page.open(page_token).ok_or_else(|| {
                Refusal::field("page_token", "is not one that this list gave out: begin again without it")
            })?;
        }
        Ok(page)
    }

    /// Rows to load: one more than asked for, to know whether there is another page.
    pub(super) fn limit(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// Cuts what was loaded to the page; answers it with the token of the next one, empty on the last.
    pub(super) fn cut<M: Message>(&self, rows: Vec<M>, key: impl Fn(&M) -> &str) -> (Vec<M>, String) {
        let keys: Vec<_> = rows.iter().map(|row| key(row).to_owned()).collect();
        self.cut_by(rows, &keys)
    }

    /// The same for rows whose keys are not written in them.
    pub(super) fn cut_by<M: Message>(&self, rows: Vec<M>, keys: &[String]) -> (Vec<M>, String) {
        let loaded = rows.len();
        let mut bytes = 0;
        let fits = |row: &M| {
            bytes += row.encoded_len();
            bytes <= PAGE_BYTES_MAX
        };
        let room = rows.iter().take(self.size).map(fits).take_while(|&fits| fits).count().max(1);
        let rows: Vec<M> = rows.into_iter().take(room).collect();
        let next = match keys.get(rows.len().saturating_sub(1)) {
            Some(last) if rows.len() < loaded => self.seal(last),
            _ => String::new(),
        };
        (rows, next)
    }

    /// The same for rows whose keys are not in them.
    pub(super) fn cut_keyed<M: Message>(&self, rows: Vec<(String, M)>) -> (Vec<M>, String) {
        let loaded = rows.len();
        let (keys, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let (rows, _) = self.cut(rows, |_| "");
        let last = rows.len().checked_sub(1).and_then(|last| keys.get(last));
        let next = last.filter(|_| rows.len() < loaded).map(|key| self.seal(key));
        (rows, next.unwrap_or_default())
    }

    fn seal(&self, key: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{key}", self.proof(key)))
    }

    fn open(&self, token: &str) -> Option<String> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (proof, key) = text.split_at_checked(SEAL_CHARS)?;
        (proof == self.proof(key)).then(|| key.to_owned())
    }

    fn proof(&self, key: &str) -> String {
        let mut proof = self.engine.fingerprint(&[&self.scope[..], b"\0", key.as_bytes()].concat());
        proof.truncate(SEAL_CHARS);
        proof
    }
}
