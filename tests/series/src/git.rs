// SPDX-License-Identifier: GPL-2.0

//! Git, on a tree that has its repository elsewhere.

use anyhow::{ensure, Context, Result};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who sends the series, and signs it off.
pub struct Author {
    pub name: String,
    pub mail: String,
}

impl Author {
    /// Reads `Name <address>`, or the same without the brackets.
    ///
    /// # Errors
    ///
    /// Fails if it is something else.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, mail) = text.trim().rsplit_once(' ').context("no address")?;
        let mail = mail.trim_start_matches('<').trim_end_matches('>');
        ensure!(mail.contains('@'), "no address");
        Ok(Self {
            name: name.to_owned(),
            mail: mail.to_owned(),
        })
    }

    /// Whom git is configured for.
    ///
    /// # Errors
    ///
    /// Fails if it is configured for nobody.
    pub fn of_git() -> Result<Self> {
        let value = |name| -> Result<String> {
            let output = Command::new("git").args(["config", name]).output()?;
            ensure!(
                output.status.success(),
                "git has no {name}: say FROM='Name address@host'"
            );
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        Ok(Self {
            name: value("user.name")?,
            mail: value("user.email")?,
        })
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.mail)
    }
}

/// A tree, and its repository.
pub struct Repository {
    tree: PathBuf,
    git: PathBuf,
    author: Author,
}

impl Repository {
    /// Makes an empty repository for the tree.
    ///
    /// # Errors
    ///
    /// Fails if git fails, or the old repository cannot be removed.
    pub fn new(tree: &Path, git: &Path, author: &Author) -> Result<Self> {
        if git.exists() {
            fs::remove_dir_all(git)?;
        }
        let repository = Self {
            tree: tree.to_owned(),
            git: git.to_owned(),
            author: Author {
                name: author.name.clone(),
                mail: author.mail.clone(),
            },
        };
        repository.run(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(repository)
    }

    /// Runs git. Returns what it prints.
    ///
    /// # Errors
    ///
    /// Fails if git does, with what it says.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(&self.tree)
            .env("GIT_DIR", &self.git)
            .env("GIT_WORK_TREE", &self.tree)
            // What somebody has configured for other projects does not count.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_NAME", &self.author.name)
            .env("GIT_AUTHOR_EMAIL", &self.author.mail)
            .env("GIT_COMMITTER_NAME", &self.author.name)
            .env("GIT_COMMITTER_EMAIL", &self.author.mail)
            .output()
            .context("cannot run git")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "git {}: {errors}",
            arguments.join(" ")
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.tree.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.tree.join(file);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether the tree is as the last commit.
    pub fn is_unchanged(&self) -> Result<bool> {
        Ok(self.run(&["status", "--porcelain"])?.is_empty())
    }

    pub fn commit(&self, message: &str) -> Result<()> {
        self.run(&["add", "--all", "--force"])?;
        self.run(&["commit", "--quiet", "--message", message])?;
        Ok(())
    }

    /// Writes all commits but the first as patches into a folder, with a cover letter: a subject,
    /// an empty line, and text.
    pub fn format(&self, folder: &Path, cover: &str) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let out = folder.to_str().context("a name is no UTF-8")?;
        let first = self.run(&["rev-list", "--max-parents=0", "HEAD"])?;
        let range = format!("{}..HEAD", first.trim());
        self.run(&[
            "format-patch",
            "--quiet",
            "--cover-letter",
            "--no-base",
            "-o",
            out,
            &range,
        ])?;
        let file = folder.join("0000-cover-letter.patch");
        let (subject, text) = cover
            .split_once("\n\n")
            .context("the cover letter has no subject")?;
        let letter = fs::read_to_string(&file)?
            .replace("*** SUBJECT HERE ***", subject)
            .replace("*** BLURB HERE ***", text.trim_end());
        fs::write(&file, letter)?;
        Ok(())
    }
}
