"""The storage profiles that are shipped, with their sources; the label of a product always wins.

Limits are degrees Celsius, both inclusive. The ids are those of the alert rule sets.
"""

from __future__ import annotations

from domain.cold_chain.events import StorageProfileDefined

PROFILES: tuple[StorageProfileDefined, ...] = (
    StorageProfileDefined(
        profile_id="vaccine_2_8",
        name="疫苗冷藏 2–8 ℃",
        name_en="Vaccines, refrigerated, 2 to 8 °C",
        temperature_c_min=2.0,
        temperature_c_max=8.0,
        source="疫苗储存和运输管理规范（2017年版，国卫疾控发〔2017〕60号）；中华人民共和国药典（三部）",
    ),
    StorageProfileDefined(
        profile_id="frozen_minus_20",
        name="疫苗冷冻 −15 ℃ 以下",
        name_en="Vaccines, frozen, −15 °C or below",
        temperature_c_min=-50.0,
        temperature_c_max=-15.0,
        source="US CDC Vaccine Storage and Handling Toolkit: freezer −50 to −15 °C; "
        "bOPV labels: −20 °C or below",
    ),
    StorageProfileDefined(
        profile_id="ultra_cold",
        name="疫苗超低温 −90 至 −60 ℃",
        name_en="Vaccines, ultra-cold, −90 to −60 °C",
        temperature_c_min=-90.0,
        temperature_c_max=-60.0,
        source="Label of Comirnaty (mRNA vaccine): −90 to −60 °C",
    ),
    StorageProfileDefined(
        profile_id="who_30_day_logger",
        name="WHO 30 天温度记录仪限值",
        name_en="WHO 30-day logger limits",
        temperature_c_min=-0.5,
        temperature_c_max=8.0,
        source="WHO PQS E006: default alarms of 30-day loggers, −0.5 °C and +8 °C",
    ),
)
