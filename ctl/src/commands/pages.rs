//! Lists longer than a page: asks for pages until there are as many rows as are wanted.

use crate::args::PageArgs;
use crate::errors::Error;

/// The largest page that the daemon gives.
const PAGE_MAX: u32 = 500;

/// At most `args.limit` rows, and the token of the page after them (empty: that was all).
/// `fetch` gets a page size and a token, and gives rows and the next token.
pub(crate) async fn collect<M>(
    args: &PageArgs,
    fetch: impl AsyncFn(u32, String) -> Result<(Vec<M>, String), Error>,
) -> Result<(Vec<M>, String), Error> {
    let mut rows = Vec::new();
    let mut token = args.page_token.clone();
    loop {
        let have = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let wanted = args.limit.saturating_sub(have);
        if wanted == 0 {
            return Ok((rows, token));
        }
        let (page, next) = fetch(wanted.min(PAGE_MAX), token).await?;
        rows.extend(page);
        token = next;
        if token.is_empty() {
            return Ok((rows, token));
        }
    }
}

/// Tells people that there is more.
pub(crate) fn more(token: &str) {
    if !token.is_empty() {
        crate::render::out::remark(&format!("There is more: --limit N, or go on with --page-token {token}"));
    }
}
