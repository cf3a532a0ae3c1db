//! Pages: bounded in rows, in bytes, and in what is looked at for them, with tokens that only this installation can make and read, and that fit
//! only the list they came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use super::check;
use super::sight::Sight;
use crate::engine::{Engine, Refusal};

/// Largest page, in bytes: well below the largest message.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Rows that are looked at for one page at most, however few of them its caller sees: then the page is short, or empty, and goes on.
const LOOKED_AT_MAX: usize = 2_000;
/// Rows that are read at once for a caller who may not see them all.
const READ_AT_ONCE: i64 = 256;

/// Which page of which list.
pub(super) struct Page<'a> {
    engine: &'a Engine,
    /// Where its tokens belong.
    place: String,
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
        Self::of(engine, &[method.as_bytes(), &list.encode_to_vec()].concat(), size, page_token)
    }

    /// The same of a list that shows its caller only what it sees: a token is good for nobody who sees something else.
    pub(super) fn seen_by(
        sight: &Sight,
        engine: &'a Engine,
        (method, list): (&str, &impl Message),
        page_size: u32,
        page_token: &str,
    ) -> Result<Self, Refusal> {
        let size = usize::try_from(check::page_size(page_size)?).unwrap_or(usize::MAX);
        let scope = [method.as_bytes(), &list.encode_to_vec(), b"\0", sight.words().as_bytes()].concat();
        Self::of(engine, &scope, size, page_token)
    }

    fn of(engine: &'a Engine, scope: &[u8], size: usize, page_token: &str) -> Result<Self, Refusal> {
        let place = engine.fingerprint(scope);
        let mut page = Self { engine, place, after: String::new(), size };
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

    /// Begins to read rows of which not all are seen.
    pub(super) fn scan(&self, sight: &Sight) -> Scan {
        let limit = if sight.is_whole() { self.limit() } else { self.limit().max(READ_AT_ONCE) };
        Scan {
            after: self.after.clone(),
            limit,
            enough: self.size.saturating_add(1),
            looked_at: 0,
            is_over: false,
        }
    }

    /// The token after a page that was cut of what was scanned, of which the rest may be seen by nobody.
    pub(super) fn after_scan(&self, next: String, scan: &Scan) -> String {
        if next.is_empty() && !scan.is_over { self.seal(&scan.after) } else { next }
    }

    fn seal(&self, key: &str) -> String {
        let hidden = self.engine.hide(&self.place, key).unwrap_or_else(|error| {
            // Not an empty token: that would say that the list has ended.
            tracing::error!(%error, "a page token could not be made");
            vec![0]
        });
        URL_SAFE_NO_PAD.encode(hidden)
    }

    fn open(&self, token: &str) -> Option<String> {
        self.engine.reveal(&self.place, &URL_SAFE_NO_PAD.decode(token).ok()?)
    }
}

/// Reads on until there are enough rows for a page, or enough were looked at.
pub(super) struct Scan {
    /// Key of the last row that was read.
    pub(super) after: String,
    /// Rows to read at once.
    pub(super) limit: i64,
    enough: usize,
    looked_at: usize,
    is_over: bool,
}

impl Scan {
    /// Whether to read on, with so many rows seen.
    pub(super) const fn goes_on(&self, seen: usize) -> bool {
        !self.is_over && seen < self.enough && self.looked_at < LOOKED_AT_MAX
    }

    /// Notes what was read.
    pub(super) fn has_read<R>(&mut self, rows: &[R], key: impl Fn(&R) -> String) {
        self.looked_at += rows.len();
        self.is_over = i64::try_from(rows.len()).unwrap_or(i64::MAX) < self.limit;
        if let Some(last) = rows.last() {
            self.after = key(last);
        }
    }
}
