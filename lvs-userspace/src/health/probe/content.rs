//! Whether what a server hands out is what it should be.

use regex::bytes::Regex;

use super::Failure;

/// So much of a body or a file is read and looked at, whatever the server sends.
pub(super) const MOST: usize = 1 << 20;

/// What is lacking: `does not contain "test page"`; `None` if nothing is.
pub(super) fn lacks(
    content: &[u8],
    text: Option<&String>,
    pattern: Option<&String>,
) -> Result<Option<String>, Failure> {
    if let Some(text) = text
        && !content.windows(text.len()).any(|window| window == text.as_bytes())
    {
        return Ok(Some(format!("does not contain {text:?}")));
    }
    if let Some(pattern) = pattern {
        let regex = Regex::new(pattern).map_err(|error| Failure::Own(error.to_string()))?;
        if !regex.is_match(content) {
            return Ok(Some(format!("does not match {pattern:?}")));
        }
    }
    Ok(None)
}
