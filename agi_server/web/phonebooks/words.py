"""The few words of ours that phones show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.phonebook import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a phone shows beside names and numbers, in one language."""

    title: str
    search: str
    everyone: str
    prompt: str
    nobody: str
    dial: str
    next: str
    leave: str
    kinds: Mapping[Kind, str]


WORDS: Mapping[str, Words] = {
    "en": Words(
        title="Phone book",
        search="Search",
        everyone="All",
        prompt="Name or number",
        nobody="Nobody found",
        dial="Dial",
        next="Next",
        leave="Exit",
        kinds={Kind.WORK: "work", Kind.MOBILE: "mobile", Kind.HOME: "home", Kind.OTHER: "other"},
    ),
    "es": Words(
        title="Agenda",
        search="Buscar",
        everyone="Todos",
        prompt="Nombre o número",
        nobody="No se encontró a nadie",
        dial="Llamar",
        next="Más",
        leave="Salir",
        kinds={Kind.WORK: "trabajo", Kind.MOBILE: "móvil", Kind.HOME: "casa", Kind.OTHER: "otro"},
    ),
    "pt": Words(
        title="Agenda",
        search="Procurar",
        everyone="Todos",
        prompt="Nome ou número",
        nobody="Ninguém encontrado",
        dial="Ligar",
        next="Mais",
        leave="Sair",
        kinds={Kind.WORK: "trabalho", Kind.MOBILE: "telemóvel", Kind.HOME: "casa", Kind.OTHER: "outro"},
    ),
    "de": Words(
        title="Telefonbuch",
        search="Suchen",
        everyone="Alle",
        prompt="Name oder Nummer",
        nobody="Niemand gefunden",
        dial="Wählen",
        next="Weiter",
        leave="Ende",
        kinds={Kind.WORK: "Arbeit", Kind.MOBILE: "mobil", Kind.HOME: "privat", Kind.OTHER: "andere"},
    ),
}
