//! Removes what an import that fails has created.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::record::folder::SESSION_FILE;

/// Removes the files and folders created by an import that fails.
pub(super) struct RemoveOnDrop {
    folder: PathBuf,
    /// The outermost folder created.
    created: Option<PathBuf>,
    /// The files created.
    files: Vec<String>,
}

impl RemoveOnDrop {
    pub(super) fn new(folder: &Path) -> Self {
        let is_new = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let created = folder.ancestors().take_while(is_new).last().map(Path::to_owned);
        Self { folder: folder.to_owned(), created, files: Vec::new() }
    }

    /// Notes a file that was created.
    pub(super) fn add_file(&mut self, name: &str) {
        self.files.push(name.to_owned());
    }

    pub(super) fn failed(&self, source: io::Error) -> Error {
        Error::File { doing: "write", path: self.folder.join(SESSION_FILE), source }
    }

    pub(super) fn keep(mut self) {
        self.created = None;
        self.files.clear();
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Errors are ignored: there is nothing else to try.
        for name in &self.files {
            let _ = fs::remove_file(self.folder.join(name));
        }
        let is_new = |folder: &&Path| self.created.as_deref().is_some_and(|created| folder.starts_with(created));
        for folder in self.folder.ancestors().take_while(is_new) {
            let _ = fs::remove_dir(folder);
        }
    }
}
