//! From ticks to segments: where the head goes straight, where it stands, where the laser is on.
//!
//! Ticks are taken in blocks of 64, as bit planes. A block waits until the next one is there, since whether the laser is
//! on in its last ticks depends on when it fires again; then the places where something changes are walked through, and
//! steps that cannot change anything (straight along X, as an engraving's are) go by all at once.

use super::planes::{BLOCK_TICKS, Planes};
use super::{Header, Position, Segment, tick};

/// The laser is on across gaps of up to this many ticks without fire: two periods of the dither.
const LASER_GAP_TICKS: u32 = 14;
/// The head stands after so many parts of a second without a step. Slow starts have gaps of up to 35 ms.
const REST_PARTS_OF_SECOND: u64 = 20;
/// The lens steps as rarely as eight times a second, and stands after a quarter of one.
const LENS_REST_PARTS_OF_SECOND: u64 = 4;
/// What is assumed where a header has no step frequency: that of prints.
const DEFAULT_HZ: u64 = 10_000;
/// How far the head may be from the line between a segment's ends, in microsteps.
const TOLERANCE: i64 = 2;
/// How many steps back a corner is looked for: a shallow one shows only after some.
const RECENT: usize = 8;
/// How far the stairs of a line are from it at most, in microsteps, with a little to spare.
const STAIR: f64 = 1.25;
/// No segment is longer, so that products of its coordinates stay within 64 bits.
const MAX_REACH: i64 = 1 << 30;

/// Cuts a body into its [`Segment`]s, however it is handed over.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Segment, Tracer};
///
/// let mut job = Builder::new();
/// job.move_to(10.0, 0.0)?.cut_to(10.0, 5.0, 50.0, 3.0 / 7.0)?;
///
/// let mut tracer = Tracer::new(job.header());
/// let mut cuts = Vec::new();
/// let mut keep = |segment: &Segment| if segment.laser { cuts.push(*segment) };
/// tracer.add(job.body(), &mut keep);
/// tracer.finish(&mut keep);
/// assert_eq!(cuts.len(), 1);
/// assert_eq!((cuts[0].end.x, cuts[0].end.y), (533, 267));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tracer {
    /// Ticks that are not yet a whole block.
    partial: [u8; BLOCK_TICKS],
    partial_ticks: usize,
    /// The block before: its laser cannot be told without the next one's.
    held: Option<Held>,
    trace: Trace,
}

/// A block that waits.
#[derive(Debug, Clone, Copy)]
struct Held {
    planes: Planes,
    /// The levels of its power bytes are in here.
    ticks: [u8; BLOCK_TICKS],
    /// Its fire, each tick of it drawn out over the gap that the laser stays on for.
    drawn_out: u64,
}

impl Tracer {
    /// For the body of a file with that header: what counts as standing depends on its step frequency (10 kHz is taken
    /// where it has none).
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let hz = header.step_frequency_hz().map_or(DEFAULT_HZ, u64::from);
        // Within a block nothing counts as standing, which is what lets blocks go by as a whole.
        let rest = |parts: u64| (hz / parts).max(BLOCK_TICKS as u64);
        Self {
            partial: [0; BLOCK_TICKS],
            partial_ticks: 0,
            held: None,
            trace: Trace::new(rest(REST_PARTS_OF_SECOND), rest(LENS_REST_PARTS_OF_SECOND)),
        }
    }

    /// Goes through some more ticks, and hands over every segment that ends in them.
    pub fn add(&mut self, mut ticks: &[u8], each: &mut dyn FnMut(&Segment)) {
        if self.partial_ticks > 0 {
            let taken = ticks.len().min(BLOCK_TICKS - self.partial_ticks);
            let (now, later) = ticks.split_at(taken);
            self.partial[self.partial_ticks..][..taken].copy_from_slice(now);
            self.partial_ticks += taken;
            ticks = later;
            if self.partial_ticks < BLOCK_TICKS {
                return;
            }
            self.partial_ticks = 0;
            let block = self.partial;
            self.block(&block, each);
        }
        let (blocks, rest) = ticks.as_chunks::<BLOCK_TICKS>();
        let mut blocks = blocks.iter();
        while let Some(block) = blocks.next() {
            self.block(block, each);
            if self.is_quiet() {
                // Of a hunt, nearly everything.
                let idle = blocks.as_slice().iter().take_while(|block| is_idle(block)).count();
                self.trace.pass(idle as u64 * BLOCK_TICKS as u64);
                blocks = blocks.as_slice()[idle..].iter();
            }
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_ticks = rest.len();
    }

    /// Ends the body, and hands over what is left. With what was handed over before it is every tick.
    pub fn finish(mut self, each: &mut dyn FnMut(&Segment)) {
        let last = self.partial_ticks;
        if last > 0 {
            self.partial[last..].fill(0);
            let block = self.partial;
            self.block(&block, each);
        }
        let over = BLOCK_TICKS - if last > 0 { last } else { BLOCK_TICKS };
        // The laser goes off behind the last tick; that block is there for this one to be told.
        self.block(&[0; BLOCK_TICKS], each);
        let end_tick = self.trace.tick - over as u64;
        self.trace.close(end_tick, self.trace.fires, each);
    }

    /// Whether idle blocks would change nothing but the time.
    fn is_quiet(&self) -> bool {
        !self.trace.laser && self.held.is_some_and(|held| held.planes == Planes::default() && held.drawn_out == 0)
    }

    fn block(&mut self, ticks: &[u8; BLOCK_TICKS], each: &mut dyn FnMut(&Segment)) {
        let planes = Planes::of(ticks);
        let before = self.held.map_or(0, |held| held.planes.fire);
        let drawn_out = high(draw_out(both(before, planes.fire)));
        if let Some(held) = self.held.replace(Held { planes, ticks: *ticks, drawn_out }) {
            // On from a tick that fires to the next one, unless the fire drawn out over the gap does not reach it.
            let off = !both(held.drawn_out, drawn_out);
            let laser = !low(draw_back(off));
            self.trace.block(&held.planes, &held.ticks, laser, each);
        }
    }
}

fn is_idle(block: &[u8; BLOCK_TICKS]) -> bool {
    block.iter().fold(0, |met, byte| met | byte) == 0
}

/// Two blocks side by side, the first one in the low bits.
const fn both(first: u64, second: u64) -> u128 {
    first as u128 | (second as u128) << 64
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is what is wanted")]
const fn low(both: u128) -> u64 {
    both as u64
}

const fn high(both: u128) -> u64 {
    low(both >> 64)
}

/// Sets the bits behind every set bit, as many as the gap has ticks.
const fn draw_out(mut bits: u128) -> u128 {
    bits |= bits << 1;
    bits |= bits << 2;
    bits |= bits << 4;
    bits | bits << (LASER_GAP_TICKS - 7)
}

/// Sets the bits before every set bit, as many as the gap has ticks.
const fn draw_back(mut bits: u128) -> u128 {
    bits |= bits >> 1;
    bits |= bits >> 2;
    bits |= bits >> 4;
    bits | bits >> (LASER_GAP_TICKS - 7)
}

/// What moves in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    Nothing,
    Head,
    Lens,
    Both,
}

/// The segment that goes on, and where in the body and on the bed it has got to.
#[derive(Debug, Clone)]
struct Trace {
    rest_ticks: u64,
    lens_rest_ticks: u64,

    /// The first tick of the block at hand.
    tick: u64,
    /// Fire ticks before it.
    fires: u64,
    at: Position,
    laser: bool,
    power: Option<u8>,

    start_tick: u64,
    start_fires: u64,
    start: Position,
    moves: Moves,
    cone: Cone,
    /// Which way the lens goes: 1 or -1, and 0 before it has moved.
    lens: i64,
    /// The tick behind the last step.
    still_from: u64,
    /// Fire ticks before that.
    still_fires: u64,
    /// Where the segment's last steps led, the latest in front.
    recent: [Visit; RECENT],
    visits: usize,
}

/// A tick, and how often the laser has fired before it.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    tick: u64,
    fires: u64,
}

/// Where a step led, and the moment behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Visit {
    at: Position,
    moment: Moment,
}

impl Trace {
    fn new(rest_ticks: u64, lens_rest_ticks: u64) -> Self {
        Self {
            rest_ticks,
            lens_rest_ticks,
            tick: 0,
            fires: 0,
            at: Position::default(),
            laser: false,
            power: None,
            start_tick: 0,
            start_fires: 0,
            start: Position::default(),
            moves: Moves::Nothing,
            cone: Cone::default(),
            lens: 0,
            still_from: 0,
            still_fires: 0,
            recent: [Visit::default(); RECENT],
            visits: 0,
        }
    }

    /// Lets that many ticks go by in which nothing happens.
    fn pass(&mut self, ticks: u64) {
        self.tick += ticks;
    }

    fn block(&mut self, planes: &Planes, ticks: &[u8; BLOCK_TICKS], laser: u64, each: &mut dyn FnMut(&Segment)) {
        let steps = planes.x_step | planes.y_step | planes.z_step;
        let switches = laser ^ (laser << 1 | u64::from(self.laser));
        let mut marks = switches | planes.power;
        let mut from = 0;
        while marks != 0 {
            let i = marks.trailing_zeros();
            marks &= marks - 1;
            self.steps(planes, steps & !below(from) & below(i), each);
            from = i;
            let power = if planes.power & (1 << i) == 0 { self.power } else { Some(ticks[i as usize] & tick::LEVEL) };
            if switches & (1 << i) != 0 || power != self.power {
                self.split(self.moment(planes, i), each);
                self.laser = laser & (1 << i) != 0;
                self.power = power;
            }
        }
        self.steps(planes, steps & !below(from), each);
        if steps != 0 {
            let still = 64 - steps.leading_zeros();
            let Moment { tick, fires } = self.moment(planes, still);
            (self.still_from, self.still_fires) = (tick, fires);
        }
        self.fires += u64::from(planes.fire.count_ones());
        self.tick += BLOCK_TICKS as u64;
    }

    fn moment(&self, planes: &Planes, i: u32) -> Moment {
        Moment { tick: self.tick + u64::from(i), fires: self.fires + u64::from((planes.fire & below(i)).count_ones()) }
    }

    /// Makes those steps of a block.
    fn steps(&mut self, planes: &Planes, mut steps: u64, each: &mut dyn FnMut(&Segment)) {
        if steps == 0 {
            return;
        }
        let negative = planes.x_negative & steps;
        if (planes.y_step | planes.z_step) & steps == 0 && (negative == 0 || negative == steps) {
            // Straight along X: the first step may begin something new, those behind it cannot.
            let x = if negative == 0 { 1 } else { -1 };
            self.step(planes, steps.trailing_zeros(), Position { x, y: 0, z: 0 }, each);
            let more = i64::from(steps.count_ones()) - 1;
            if self.cone.goes_along_x(more) {
                self.at.x += x * more;
                self.still_from = self.tick + u64::from(64 - steps.leading_zeros());
                if more > 0 {
                    self.visit(planes, 64 - steps.leading_zeros());
                }
                return;
            }
            steps &= steps - 1;
        }
        while steps != 0 {
            let i = steps.trailing_zeros();
            steps &= steps - 1;
            let direction = |step: u64, negative: u64| {
                let made = (step >> i & 1).cast_signed();
                if negative >> i & 1 == 0 { made } else { -made }
            };
            let step = Position {
                x: direction(planes.x_step, planes.x_negative),
                y: direction(planes.y_step, !planes.y_positive),
                z: direction(planes.z_step, !planes.z_positive),
            };
            self.step(planes, i, step, each);
        }
    }

    /// Makes one step: in the segment at hand, or in a new one.
    fn step(&mut self, planes: &Planes, i: u32, step: Position, each: &mut dyn FnMut(&Segment)) {
        let moves = match ((step.x, step.y) != (0, 0), step.z != 0) {
            (true, true) => Moves::Both,
            (true, false) => Moves::Head,
            (false, _) => Moves::Lens,
        };
        let tick = self.tick + u64::from(i);
        let goes_on = match self.moves {
            // Standing so far: a short pause belongs to what follows it.
            Moves::Nothing => tick - self.start_tick <= self.rest_after(moves),
            so_far => so_far == moves && tick - self.still_from <= self.rest_after(so_far),
        };
        if !goes_on {
            self.split(self.moment(planes, i), each);
        }
        let turns = step.z != 0 && self.lens == -step.z;
        if turns {
            self.split(self.moment(planes, i), each);
        }
        if !self.cone.include(step.x, step.y) {
            self.turn(step, each);
            if !self.cone.include(step.x, step.y) {
                self.split(self.moment(planes, i), each);
                let _ = self.cone.include(step.x, step.y);
            }
        }
        self.moves = moves;
        if step.z != 0 {
            self.lens = step.z;
        }
        self.at.x += step.x;
        self.at.y += step.y;
        self.at.z += step.z;
        self.still_from = tick + 1;
        self.visit(planes, i + 1);
    }

    /// Remembers where the step before that tick led.
    fn visit(&mut self, planes: &Planes, i: u32) {
        self.recent[self.visits % RECENT] = Visit { at: self.at, moment: self.moment(planes, i) };
        self.visits += 1;
    }

    /// Ends the segment where the way turned: at the place farthest from the line to where the next step leads, which is
    /// one of the last few. Those behind it begin the next segment.
    fn turn(&mut self, step: Position, each: &mut dyn FnMut(&Segment)) {
        let to = (self.at.x + step.x - self.start.x, self.at.y + step.y - self.start.y);
        let (last, recent) = (self.visits, self.recent);
        let visit = |i: usize| recent[i % RECENT];
        let off = |i: &usize| cross(to, (visit(*i).at.x - self.start.x, visit(*i).at.y - self.start.y)).abs();
        // The latest of those that are equally far.
        let Some(mut corner) = (last - last.min(RECENT)..last).max_by_key(off) else { return };
        // The stairs of a slanted line are no corner: then it turns where it is.
        if off(&corner) as f64 <= STAIR * (to.0 as f64).hypot(to.1 as f64) {
            corner = last - 1;
        }
        let Visit { at, moment } = visit(corner);
        let (end, moves, lens) = (std::mem::replace(&mut self.at, at), self.moves, self.lens);
        // In a segment nothing stands, so that what ends here has no rest at its end.
        self.hand_over(moment.tick, moment.fires, each);
        self.begin(moment);
        if at == end {
            return;
        }
        (self.moves, self.lens) = (moves, lens);
        for i in corner + 1..last {
            let Visit { at, moment } = visit(i);
            let (x, y) = (at.x - self.at.x, at.y - self.at.y);
            if !self.cone.include(x, y) {
                // More than one turn in so few steps: nobody's drawing, but it must be told right all the same.
                let before = visit(i - 1).moment;
                self.hand_over(before.tick, before.fires, each);
                self.begin(before);
                (self.moves, self.lens) = (moves, lens);
                let _ = self.cone.include(x, y);
            }
            self.at = at;
            self.recent[self.visits % RECENT] = Visit { at, moment };
            self.visits += 1;
        }
    }

    fn rest_after(&self, moves: Moves) -> u64 {
        match moves {
            Moves::Lens => self.lens_rest_ticks,
            Moves::Nothing | Moves::Head | Moves::Both => self.rest_ticks,
        }
    }

    /// Ends the segment at hand, and begins one here.
    fn split(&mut self, moment: Moment, each: &mut dyn FnMut(&Segment)) {
        self.close(moment.tick, moment.fires, each);
        self.begin(moment);
    }

    fn begin(&mut self, moment: Moment) {
        self.start_tick = moment.tick;
        self.start_fires = moment.fires;
        self.start = self.at;
        self.moves = Moves::Nothing;
        self.cone = Cone::default();
        self.lens = 0;
        self.visits = 0;
    }

    /// Hands over what there is up to that tick: where the head has stood for long, as two.
    fn close(&mut self, tick: u64, fires: u64, each: &mut dyn FnMut(&Segment)) {
        if self.moves != Moves::Nothing && tick - self.still_from > self.rest_after(self.moves) {
            self.hand_over(self.still_from, self.still_fires, each);
            self.start_tick = self.still_from;
            self.start_fires = self.still_fires;
            self.start = self.at;
        }
        self.hand_over(tick, fires, each);
    }

    fn hand_over(&self, end_tick: u64, end_fires: u64, each: &mut dyn FnMut(&Segment)) {
        if end_tick > self.start_tick {
            each(&Segment {
                start_tick: self.start_tick,
                ticks: end_tick - self.start_tick,
                start: self.start,
                end: self.at,
                laser: self.laser,
                fire_ticks: end_fires - self.start_fires,
                power: self.power,
            });
        }
    }
}

/// The bits below that one; all of them for 64.
const fn below(i: u32) -> u64 {
    if i >= 64 { u64::MAX } else { (1 << i) - 1 }
}

/// The directions, seen from a segment's start, in which it may end: those that pass every place it has been to within
/// the tolerance. Coordinates are reflected so that both grow.
#[derive(Debug, Clone, Copy, Default)]
struct Cone {
    /// Which way each axis goes: 1 or -1, and 0 before it has moved.
    x_sign: i64,
    y_sign: i64,
    x: i64,
    y: i64,
    /// The steepest and the flattest direction; (0, 0) as long as all will do.
    steepest: (i64, i64),
    flattest: (i64, i64),
}

impl Cone {
    /// Takes one more step, or several along X from the start, if the line stays straight with it.
    fn include(&mut self, x: i64, y: i64) -> bool {
        if x * self.x_sign < 0 || y * self.y_sign < 0 {
            return false;
        }
        let to = (self.x + x.abs(), self.y + y.abs());
        if !self.allows(to) || to.0.max(to.1) > MAX_REACH {
            return false;
        }
        if x != 0 {
            self.x_sign = x.signum();
        }
        if y != 0 {
            self.y_sign = y.signum();
        }
        (self.x, self.y) = to;
        self.narrow();
        true
    }

    /// Takes that many steps along X at once, if all that went before was along X as well. The way it goes is known.
    fn goes_along_x(&mut self, steps: i64) -> bool {
        if self.y_sign != 0 || self.x_sign == 0 || self.x + steps > MAX_REACH {
            return false;
        }
        self.x += steps;
        self.narrow();
        true
    }

    fn allows(&self, to: (i64, i64)) -> bool {
        (self.steepest == (0, 0) || cross(to, self.steepest) >= 0)
            && (self.flattest == (0, 0) || cross(self.flattest, to) >= 0)
    }

    /// Leaves the directions that pass the place just reached.
    fn narrow(&mut self) {
        let (x, y) = (self.x, self.y);
        if x.max(y) <= TOLERANCE {
            return;
        }
        let (steepest, flattest) = if x >= y {
            ((x, y + TOLERANCE), (x, (y - TOLERANCE).max(0)))
        } else {
            (((x - TOLERANCE).max(0), y), (x + TOLERANCE, y))
        };
        if self.steepest == (0, 0) || cross(steepest, self.steepest) > 0 {
            self.steepest = steepest;
        }
        if self.flattest == (0, 0) || cross(self.flattest, flattest) > 0 {
            self.flattest = flattest;
        }
    }
}

/// Positive where the second direction is steeper than the first one.
const fn cross(from: (i64, i64), to: (i64, i64)) -> i64 {
    from.0 * to.1 - from.1 * to.0
}
