//! `man`: writes manual pages.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use gf_emulator_core::words::count;

use crate::error::CliError;
use crate::output::{self, remark, write_stdout};

/// Print the manual page, or write those of all commands
///
/// Without --dir, prints the page of the program itself, in the format of man (roff).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator man | man -l -
      Shows the page.
  gf-machine-emulator man --dir ~/.local/share/man/man1
      Then \"man gf-machine-emulator\" and \"man gf-machine-emulator-serve\" work.

Exit codes: 0 done; 1 writing failed; 2 wrong usage, or DIR is no folder that
can be written to.")]
pub(crate) struct Arguments {
    /// Write the pages of the program and of each command into this folder, which must exist
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, command: Command) -> Result<(), CliError> {
    // Its pages would repeat the others.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(folder) = &arguments.dir else {
        write_stdout(&page(&command)?);
        return Ok(());
    };
    let pages = write_all(&command, folder)?;
    remark(format_args!("{}: {}", folder.display(), count(pages, "page")));
    Ok(())
}

/// Writes the pages of a command and of those below it. Returns how many there are.
fn write_all(command: &Command, folder: &Path) -> Result<usize, CliError> {
    let name = Man::new(command.clone()).get_filename();
    let mut output = output::create(&folder.join(name), &[])?;
    let written = output.file.write_all(&page(command)?);
    output.finish(written)?;
    command.get_subcommands().try_fold(1, |pages, sub| Ok(pages + write_all(sub, folder)?))
}

/// Renders a page.
fn page(command: &Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    render(command, &mut page).map_err(CliError::failed)?;
    Ok(page)
}

fn render(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let manual = Man::new(command.clone()).source(concat!("gf-machine-emulator ", env!("CARGO_PKG_VERSION")));
    manual.render_title(page)?;
    manual.render_name_section(page)?;
    manual.render_synopsis_section(page)?;
    manual.render_description_section(page)?;
    manual.render_options_section(page)?;
    if command.has_subcommands() {
        manual.render_subcommands_section(page)?;
    }
    let Some(notes) = command.get_after_help() else { return Ok(()) };
    // As it is: `Man` would join the lines of examples and tables.
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]).control("nf", []);
    notes.to_string().lines().for_each(|line| _ = roff.text([roman(line)]));
    roff.control("fi", []);
    roff.to_writer(page)
}
