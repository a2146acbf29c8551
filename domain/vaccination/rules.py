"""Numbers and lists that change, as dated values with their source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from domain.vaccination.events import Question

# Days are days in China: a vaccine may be used until the end of the day of its expiry.
ZONE = ZoneInfo("Asia/Shanghai")

# Doses of one schedule, units of one requisition, fen of one dose: beyond it is a typo.
SERIES_DOSE_MAX = 20
UNITS_MAX = 10_000_000
PRICE_FEN_MAX = 10_000_00
INTERVAL_DAYS_MAX = 3660
DUE_ITEMS_MAX = 100
LINES_MAX = 100
QUESTIONS_MAX = 50


def day_of(moment: datetime) -> date:
    """Return the day of a moment in China."""
    return moment.astimezone(ZONE).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules from a day on.

    observation_min: minutes a person stays after a dose. screening_h: hours that answers to the
    questions hold. cluster_*: so many reports, or so many serious ones, with onsets in that many
    days on one lot. snapshot_h: hours that a clinic's offline snapshot holds. reserved_min: minutes
    that a check keeps a dose of its vial for its person. overdue_min: minutes past an observation
    after which somebody is called. told_late_min: minutes after which a dose is told late.
    """

    valid_from: date
    observation_min: int
    screening_h: int
    cluster_cases: int
    cluster_serious: int
    cluster_days: int
    snapshot_h: int
    reserved_min: int
    overdue_min: int
    told_late_min: int
    source: str


RULES = (
    Rules(
        valid_from=date(2015, 1, 1),
        observation_min=30,
        screening_h=24,
        cluster_cases=3,
        cluster_serious=2,
        cluster_days=7,
        snapshot_h=24,
        reserved_min=10,
        overdue_min=5,
        told_late_min=5,
        source="observation: 预防接种工作规范, 30 min on site; all others own choice",
    ),
)


def rules_at(moment: datetime) -> Rules:
    """Return the rules of a day."""
    day = day_of(moment)
    return max((r for r in RULES if r.valid_from <= day), key=lambda r: r.valid_from)


# What is seen after a dose; a report names at least one. Own short list after the national form.
SIGNS = (
    "fever",
    "local_redness",
    "local_induration",
    "rash",
    "anaphylaxis",
    "syncope",
    "febrile_seizure",
    "sterile_abscess",
    "purpura",
    "encephalitis",
    "paralysis",
    "other",
)
OUTCOMES = ("recovering", "recovered", "sequelae", "died", "unknown")
# 预防接种异常反应鉴定: what a suspected event turns out to be.
CAUSES = (
    "common_reaction",
    "rare_reaction",
    "quality_fault",
    "procedure_fault",
    "coincidence",
    "psychogenic",
    "undetermined",
)

# 未种原因: why a planned dose was not given.
NOT_GIVEN_CAUSES = (
    "refused",
    "contraindicated",
    "ill",
    "immune",
    "absent",
    "no_stock",
    "vial_unfit",
    "other",
)

# The list every instance begins with, until the medical authority publishes its own.
DEFAULT_LIST = "general"
DEFAULT_QUESTIONS: Sequence[Question] = (
    Question(
        question_id="fever",
        zh="目前是否发热（腋温 37.5 ℃ 以上）或患急性疾病？",
        en="Is there a fever (37.5 °C or more) or an acute illness now?",
        yes="stop",
    ),
    Question(
        question_id="severe_allergy",
        zh="以前接种这种疫苗后或对其成分是否发生过严重过敏反应？",
        en="Was there ever a severe allergic reaction to this vaccine or to a part of it?",
        yes="stop",
    ),
    Question(
        question_id="immunodeficiency",
        zh="是否有免疫缺陷、免疫功能低下，或正在接受免疫抑制治疗？",
        en="Is there an immune deficiency or a treatment that suppresses immunity?",
        yes="caution",
    ),
    Question(
        question_id="nervous_system",
        zh="是否患未控制的癫痫或其他进行性神经系统疾病？",
        en="Is there uncontrolled epilepsy or another progressive disease of the nerves?",
        yes="stop",
    ),
    Question(
        question_id="blood_products",
        zh="近 3 个月是否使用过免疫球蛋白或血液制品？",
        en="Were immunoglobulin or blood products given in the last 3 months?",
        yes="caution",
    ),
    Question(
        question_id="pregnancy",
        zh="是否怀孕或计划近期怀孕？",
        en="Is there a pregnancy, or is one planned soon?",
        yes="caution",
    ),
)
DEFAULT_SOURCE = "working list after 预防接种工作规范; to be confirmed by the medical authority"
