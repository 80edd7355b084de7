//! How much of a body is measured in detail. Without a limit, a body that turns or changes laser or power at nearly every
//! tick would take 50 times as long as a print.

/// The work that each block of ticks adds to what may be done; 1 is about 5 ns.
const PER_BLOCK: i64 = 10;
/// The most work that may be saved up, and what there is at the start: for 25 minutes of circles, each as fast as the
/// machine's acceleration allows, which take about 40 ms.
pub(super) const MOST: i64 = 1 << 23;
/// How much must be saved up before a dense stretch ends.
const ENOUGH: i64 = 1 << 12;

/// The work that may still be done to find corners and other ends of segments. When it is used up, a dense stretch
/// begins, whose blocks are measured as a whole.
#[derive(Debug, Clone)]
pub(super) struct Detail {
    left: i64,
    most: i64,
    is_dense: bool,
}

impl Detail {
    /// Allows that much work at the start, usually [`MOST`].
    pub(super) fn new(most: i64) -> Self {
        Self { left: most, most, is_dense: false }
    }

    /// Returns whether the current block is in a dense stretch.
    pub(super) fn is_dense(&self) -> bool {
        self.is_dense
    }

    /// Adds what further blocks may use.
    #[inline]
    pub(super) fn add_blocks(&mut self, blocks: u64) {
        let added = PER_BLOCK.saturating_mul(blocks.cast_signed());
        self.left = self.left.saturating_add(added).min(self.most);
    }

    /// Returns whether a dense stretch begins or ends here.
    #[inline]
    pub(super) fn has_to_change(&self) -> bool {
        if self.is_dense { self.left >= ENOUGH } else { self.left < 0 }
    }

    /// Begins or ends a dense stretch.
    pub(super) fn change(&mut self) {
        self.is_dense = !self.is_dense;
    }

    /// Uses up work, except in a dense stretch.
    #[inline]
    pub(super) fn spend(&mut self, work: u32) {
        if !self.is_dense {
            self.left -= i64::from(work);
        }
    }
}
