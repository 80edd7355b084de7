//! The frames to one machine that are sent late, or in another form. Pure: the clock is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::fault::{FrameFault, LONGEST};

/// What happens to a frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FrameTreatment {
    pub(super) delay: Duration,
    /// `None` for no limit.
    pub(super) bytes_per_s: Option<u64>,
    pub(super) fault: Option<FrameFault>,
}

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) text: String,
    /// Into how many fragments; 1 is not fragmented.
    pub(super) fragments: usize,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send(Frame),
    WaitUntil(Instant),
    /// There are no frames.
    Empty,
}

/// Frames in the order of sending, and those that wait for the next ones.
#[derive(Debug, Default)]
pub(super) struct FrameQueue {
    ready: VecDeque<(Instant, Frame)>,
    gathering: Option<Gathering>,
    /// When the last frame is due. No frame overtakes it.
    last_due: Option<Instant>,
}

/// Frames that wait for the next ones.
#[derive(Debug)]
struct Gathering {
    texts: Vec<String>,
    /// They are sent when there are so many of them.
    wanted: usize,
    /// Whether they become one frame; otherwise, the last is sent first.
    is_packed: bool,
    until: Instant,
    treatment: FrameTreatment,
}

impl FrameQueue {
    /// Returns whether frames wait for the next one. It joins them, so that no other frame fault can happen to it.
    pub(super) fn is_gathering(&self) -> bool {
        self.gathering.is_some()
    }

    /// Returns how many frames wait.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.gathering.as_ref().map_or(0, |gathering| gathering.texts.len())
    }

    /// Adds a frame.
    pub(super) fn push(&mut self, text: String, treatment: FrameTreatment, now: Instant) {
        if let Some(gathering) = &mut self.gathering {
            gathering.texts.push(text);
            if gathering.texts.len() >= gathering.wanted {
                self.end_gathering(now);
            }
            return;
        }
        let (wanted, is_packed, wait) = match treatment.fault {
            Some(FrameFault::Reorder { wait }) => (2, false, wait),
            Some(FrameFault::Pack { parts, wait }) => (parts, true, wait),
            Some(FrameFault::Split { parts }) => return self.add(text, parts, &treatment, now),
            Some(FrameFault::Double) => {
                self.add(text.clone(), 1, &treatment, now);
                return self.add(text, 1, &treatment, now);
            }
            None => return self.add(text, 1, &treatment, now),
        };
        let until = now + wait.min(LONGEST);
        self.gathering = Some(Gathering { texts: vec![text], wanted, is_packed, until, treatment });
    }

    fn end_gathering(&mut self, now: Instant) {
        let Some(Gathering { mut texts, is_packed, treatment, .. }) = self.gathering.take() else { return };
        if is_packed {
            texts = vec![texts.join("\n")];
        }
        // Reordered: the last first.
        for text in texts.into_iter().rev() {
            self.add(text, 1, &treatment, now);
        }
    }

    fn add(&mut self, text: String, fragments: usize, treatment: &FrameTreatment, now: Instant) {
        let on_the_line = treatment.bytes_per_s.map_or(Duration::ZERO, |rate| time_of(text.len() as u64, rate));
        let start = (now + treatment.delay).max(self.last_due.unwrap_or(now));
        let due = start + on_the_line;
        self.last_due = Some(due);
        self.ready.push_back((due, Frame { text, fragments }));
    }

    /// Takes the next frame that is due.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.gathering.as_ref().is_some_and(|gathering| gathering.until <= now) {
            self.end_gathering(now);
        }
        let due = self.ready.front().map(|(due, _)| *due);
        if due.is_some_and(|due| due <= now) {
            return self.ready.pop_front().map_or(Next::Empty, |(_, frame)| Next::Send(frame));
        }
        let until = self.gathering.as_ref().map(|gathering| gathering.until);
        due.into_iter().chain(until).min().map_or(Next::Empty, Next::WaitUntil)
    }
}

/// Returns how long so many bytes take at this rate.
pub(super) fn time_of(bytes: u64, bytes_per_s: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / bytes_per_s.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Pushes frames a tenth of a second apart; returns what is sent and when, in seconds.
    fn sent(frames: &[(&str, FrameTreatment)]) -> Vec<(f64, String, usize)> {
        let start = Instant::now();
        let mut queue = FrameQueue::default();
        let mut now = start;
        let mut sent = Vec::new();
        let mut frames = frames.iter();
        loop {
            match frames.next() {
                Some((text, treatment)) => queue.push((*text).to_owned(), treatment.clone(), now),
                None if queue.len() == 0 => return sent,
                None => {}
            }
            let limit = if frames.len() > 0 { Some(now + SECOND / 10) } else { None };
            loop {
                match queue.next(now) {
                    Next::Send(frame) => {
                        sent.push(((now - start).as_secs_f64(), frame.text, frame.fragments));
                    }
                    Next::WaitUntil(until) if limit.is_none_or(|limit| until <= limit) => now = until,
                    Next::WaitUntil(_) | Next::Empty => break,
                }
            }
            now = limit.unwrap_or(now);
        }
    }

    fn faulty(fault: FrameFault) -> FrameTreatment {
        FrameTreatment { fault: Some(fault), ..FrameTreatment::default() }
    }

    fn check(frames: &[(&str, FrameTreatment)], expected: &[(f64, &str, usize)]) {
        let sent = sent(frames);
        let same = |(sent, expected): (&(f64, String, usize), &(f64, &str, usize))| {
            (sent.0 - expected.0).abs() < 1e-6 && sent.1 == expected.1 && sent.2 == expected.2
        };
        assert!(sent.len() == expected.len() && sent.iter().zip(expected).all(same), "{frames:?}: {sent:?}");
    }

    #[test]
    fn frames_are_doubled_split_swapped_packed_late_and_slow() {
        let plain = FrameTreatment::default;
        let late = |delay| FrameTreatment { delay, ..plain() };
        let slow = FrameTreatment { bytes_per_s: Some(2), ..plain() };
        let swap = faulty(FrameFault::Reorder { wait: SECOND });
        let pack = |parts| faulty(FrameFault::Pack { parts, wait: SECOND });
        check(&[("a", plain()), ("b", plain())], &[(0.0, "a", 1), (0.1, "b", 1)]);
        check(&[("a", faulty(FrameFault::Double))], &[(0.0, "a", 1), (0.0, "a", 1)]);
        check(&[("abc", faulty(FrameFault::Split { parts: 3 }))], &[(0.0, "abc", 3)]);
        check(&[("a", swap.clone()), ("b", plain()), ("c", plain())], &[(0.1, "b", 1), (0.1, "a", 1), (0.2, "c", 1)]);
        check(&[("a", swap)], &[(1.0, "a", 1)]);
        check(&[("a", pack(2)), ("b", plain()), ("c", plain())], &[(0.1, "a\nb", 1), (0.2, "c", 1)]);
        check(&[("a", pack(9)), ("b", plain())], &[(1.0, "a\nb", 1)]);
        // A frame that is held back holds back those after it.
        check(&[("a", late(SECOND)), ("b", plain())], &[(1.0, "a", 1), (1.0, "b", 1)]);
        check(&[("a", late(SECOND)), ("b", late(SECOND))], &[(1.0, "a", 1), (1.1, "b", 1)]);
        check(&[("abcd", slow.clone()), ("ef", slow)], &[(2.0, "abcd", 1), (3.0, "ef", 1)]);
    }
}
