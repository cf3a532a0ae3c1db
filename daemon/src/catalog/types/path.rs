//! Paths.

use super::text::excerpt;

/// Longest path, in bytes: room below the kernel's 4096 for what scripts append.
const PATH_BYTES_MAX: usize = 1024;

/// An absolute path with single slashes and none at its end. The root directory itself is refused: it is never what was meant.
pub(super) fn absolute(raw: &str) -> Result<Option<String>, String> {
    let Some(rest) = raw.strip_prefix('/') else { return Ok(None) };
    let path = parts(rest)?;
    if path.is_empty() {
        return Err("is the root directory itself; name a directory in it".to_owned());
    }
    Ok(Some(format!("/{path}")))
}

/// Relative paths, one per line; blank lines are left out.
pub(super) fn relative_lines(raw: &str) -> Result<String, String> {
    let mut paths: Vec<String> = Vec::new();
    for line in raw.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('/') || line.starts_with('-') {
            let shown = excerpt(line);
            return Err(format!("`{shown}` must be a relative path that does not begin with a dash"));
        }
        if line.contains('\t') {
            return Err(format!("`{}` has a tab in it", excerpt(line)));
        }
        let path = parts(line)?;
        if path.split('/').any(|part| part != part.trim()) {
            return Err(format!("`{}` has a part that begins or ends with a space", excerpt(line)));
        }
        let nested = |other: &String| path == *other || inside(&path, other) || inside(other, &path);
        if let Some(other) = paths.iter().find(|other| nested(other)) {
            let (path, other) = (excerpt(&path), excerpt(other));
            return Err(format!("`{path}` and `{other}` lie in each other; name the outer one alone"));
        }
        paths.push(path);
    }
    Ok(paths.join("\n"))
}

fn inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

fn parts(raw: &str) -> Result<String, String> {
    if raw.len() > PATH_BYTES_MAX {
        return Err(format!("is longer than {PATH_BYTES_MAX} bytes"));
    }
    let parts: Vec<_> = raw.split('/').filter(|part| !part.is_empty()).collect();
    match parts.iter().find(|part| **part == "." || **part == ".." || part.len() > 255) {
        Some(&("." | "..")) => Err("must not have `.` or `..` in it: write the path in full".to_owned()),
        Some(_) => Err("has a part of more than 255 bytes".to_owned()),
        None => Ok(parts.join("/")),
    }
}
