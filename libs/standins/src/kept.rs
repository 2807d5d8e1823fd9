//! Secrets that a stand-in makes at its first start and finds again at the next.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

/// The text of the file; or what `make` gives, kept there for the next time. Readable by its owner only, and whole or not
/// there: written beside, synced, then renamed into place.
///
/// # Errors
/// A sentence: the file cannot be read or written, or `make` failed.
pub(crate) fn kept(path: &Path, make: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    let cannot = |what: &str, e: std::io::Error| format!("{} cannot be {what}: {e}", path.display());
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(cannot("read", e)),
    }
    let text = make()?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| cannot("written", e))?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let _ = fs::remove_file(&beside);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|e| cannot("written", e))?;
    Ok(text)
}
