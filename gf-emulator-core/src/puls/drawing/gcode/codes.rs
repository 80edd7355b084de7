//! What each G and M code does.

/// The kind of motion in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Motion {
    Travel,
    Straight,
    Clockwise,
    Counterclockwise,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LaserMode {
    Off,
    Constant,
    Dynamic,
}

/// What a line does beside moving. The line's coordinates belong to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Action {
    Dwell,
    /// `G10`: sets the origin of one of the coordinate systems of `G54` to `G59`.
    SetOrigin,
    /// `G28`, `G30`: goes to one of two stored positions.
    GoToStored(usize),
    /// `G28.1`, `G30.1`: stores this position.
    Store(usize),
    /// `G92`: says where in the coordinates the head is.
    SetPosition,
    /// `G92.1`
    ClearPosition,
    /// `G43.1`
    ToolLength,
    /// `M649`: sets power, speed and firing mode of the laser of one kind of Marlin.
    SetMarlinLaser,
}

/// What a code does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Code {
    Motion(Motion),
    Laser(LaserMode),
    Action(Action),
    MmPerUnit(f64),
    Relative(bool),
    AbsoluteCentres(bool),
    InverseTime(bool),
    /// Whether arcs are in XY.
    PlaneXy(bool),
    /// `G53`: this line is in machine coordinates.
    MachineCoordinates,
    /// `G54` to `G59`, from 0.
    CoordinateSystem(usize),
    ClearToolLength,
    EndOfProgram,
    /// Has no effect on a job.
    Nothing,
    /// Is ignored with a remark.
    Ignored(&'static str),
    /// Is ignored with the rest of the line, with a remark.
    LineIgnored(&'static str),
    /// Sets a fan, or, on some printers, the laser. Whether it can be on.
    Fan(bool),
    /// Would need something else: what the code is, and what is expected.
    Refused(&'static str, &'static str),
}

pub(super) const PAUSES: &str = "M0, M1 and M6 wait for a person, which a job cannot: ignored";
const PRINTER: &str = "commands of a 3D printer without effect on a job: ignored";
pub(super) const FAN: &str = "M106 and M107 switch a fan: ignored";

const STRAIGHT: &str = "straight moves and arcs: G0 G1 G2 G3";
const PLAIN: &str = "coordinates as they are";
const LASER: &str = "a laser program: M3 or M4 with S, and M5";

/// Looks up a code.
pub(super) fn code(letter: u8, number: f64) -> Option<Code> {
    // Codes have at most one decimal.
    let tenths = number * 10.0;
    #[expect(clippy::cast_possible_truncation, reason = "saturates at a value that is no code")]
    let tenths = if (tenths - tenths.round()).abs() < 1e-6 { tenths.round() as i64 } else { -1 };
    match letter {
        b'G' => g_code(tenths),
        b'M' if tenths % 10 == 0 => m_code(tenths / 10),
        _ => None,
    }
}

fn g_code(tenths: i64) -> Option<Code> {
    Some(match tenths {
        0 => Code::Motion(Motion::Travel),
        10 => Code::Motion(Motion::Straight),
        20 => Code::Motion(Motion::Clockwise),
        30 => Code::Motion(Motion::Counterclockwise),
        40 => Code::Action(Action::Dwell),
        100 => Code::Action(Action::SetOrigin),
        170 => Code::PlaneXy(true),
        180 | 190 => Code::PlaneXy(false),
        200 => Code::MmPerUnit(25.4),
        210 => Code::MmPerUnit(1.0),
        280 => Code::Action(Action::GoToStored(0)),
        300 => Code::Action(Action::GoToStored(1)),
        281 => Code::Action(Action::Store(0)),
        301 => Code::Action(Action::Store(1)),
        431 => Code::Action(Action::ToolLength),
        490 => Code::ClearToolLength,
        530 => Code::MachineCoordinates,
        540 | 550 | 560 | 570 | 580 | 590 => Code::CoordinateSystem(usize::try_from(tenths / 10 - 54).ok()?),
        900 => Code::Relative(false),
        910 => Code::Relative(true),
        901 => Code::AbsoluteCentres(true),
        911 => Code::AbsoluteCentres(false),
        920 => Code::Action(Action::SetPosition),
        921 | 922 => Code::Action(Action::ClearPosition),
        930 => Code::InverseTime(true),
        940 => Code::InverseTime(false),
        80 | 150 | 400 | 430 | 500 | 610 | 611 | 640 | 690 | 800 | 970 | 980 | 990 => Code::Nothing,
        50..=53 => Code::Refused("a spline", STRAIGHT),
        70 => Code::Refused(
            "a row of a picture for one kind of Marlin",
            "G1 with S: let the program write G-code for GRBL",
        ),
        160 => Code::Refused("polar coordinates", PLAIN),
        290 | 380..=385 => Code::Refused("a probe", "a program without measuring"),
        410 | 420 | 411 | 421 => Code::Refused("cutter compensation", "a path that the program has offset itself"),
        510 | 520 | 680 => Code::Refused("a changed coordinate system", PLAIN),
        330..=339 | 760 => Code::Refused("a thread", STRAIGHT),
        730 | 740 | 810 | 820 | 830 | 840 | 850 | 860 | 870 | 880 | 890 => Code::Refused("a drilling cycle", STRAIGHT),
        950 | 960 => Code::Refused("speed by the spindle's turns", "G94, F per minute"),
        _ => return None,
    })
}

fn m_code(number: i64) -> Option<Code> {
    Some(match number {
        0 | 1 | 6 | 60 => Code::Ignored(PAUSES),
        2 | 30 => Code::EndOfProgram,
        3 => Code::Laser(LaserMode::Constant),
        4 => Code::Laser(LaserMode::Dynamic),
        5 => Code::Laser(LaserMode::Off),
        7..=9 | 48 | 49 | 56 => Code::Nothing,
        106 => Code::Fan(true),
        107 => Code::Fan(false),
        17
        | 18
        | 73
        | 75..=78
        | 80..=85
        | 92
        | 105
        | 110..=119
        | 149
        | 150
        | 155
        | 201..=211
        | 301..=304
        | 355
        | 400
        | 420
        | 500..=503
        | 900
        | 906..=907
        | 999 => Code::LineIgnored(PRINTER),
        104 | 109 | 140 | 190 => Code::Refused("the heater of a 3D printer", LASER),
        280 | 300 => Code::Refused("a command that lifts a plotter's pen, not a laser", LASER),
        649 => Code::Action(Action::SetMarlinLaser),
        42 | 62..=68 => Code::Refused("an output of the controller", LASER),
        96..=99 => Code::Refused("a subprogram", "one program with all its moves"),
        _ => return None,
    })
}
