"""Beginnings and stems of rude words in many languages, so that no invented name holds one: a reader in any of them should not stumble.

Written in ROT13, which keeps them from whoever only leafs through the files. A stem counts wherever it stands in a name, which refuses harmless
names too; that costs nothing, as there are enough others. Three letters are taken only where the stem is rude in itself.
"""

import codecs

from llmsuite_lab.core.text import fold

_ROT13 = {
    "Czech, Slovak, Polish, Croatian": "xhein xheir xhejn cvmq xhaqn cvpn cvpmx puhw wron zeqn ceqry qhcn pvcn pvbgn ubia tbja",
    "Danish, Norwegian, Swedish": "svgg svffr xarccr xahyy cvxx xhxx yhqre uben ybeg fxvg snra nahf arte",
    "Dutch": "ubre arhx xnaxre xybbgm cvwc syvxx",
    "English": "frk cbea qvpx phag pbpx shpx fuvg fyhg juber gjng jnax gvgf obbo phz nany anmv avtt sntt "
    "fcvp xvxr encvfg cravf intva ihyin qvyqb frzra obare ovzob zvys chff ovgpu cnagl fcnfg ergneq pbba onfgneq gheq",
    "Filipino, Indonesian": "chxv xnagbg oheng xbagby zrzrx atrag",
    "Finnish": "crefr ivggh ivgha xhfv cnfxn uhben xlecn cvyyh crexry ehax zhyx",
    "French": "chgr zreq fnybc raphy ovgr pbhvyy punggr pbaane avdhr",
    "German": "uher svpx sbgm zhfpuv nefpu fpurvff jvpuf ahgg cvzzry gvgg cvff",
    "Hindi": "tnaqh puhgvln oubfq znqnep xhggn unenz ybqh",
    "Hungarian": "cvan trpv snfm ohmv frtt",
    "Italian": "pnmm phyb svtn gebvn zvapuv fgebam chggna cveyn sebpv",
    "Japanese": "puvaxb znaxb xhfb",
    "Portuguese": "cbeen obfgn ohprg pnenyu sbqn knan ivnq pban",
    "Romanian": "chyn zhvr shgh phein pnpng",
    "Russian": "uhl uhv oyln fhxn rong rony zhqnx tnaqba",
    "Spanish": "chgn chgb pbab cbyyn zvreq crmba pnoeba iretn craqrw znevp puvat",
    "Turkish": "bebfc nzpvx lnenx fvxg",
}
STEMS: dict[str, tuple[str, ...]] = {language: tuple(codecs.decode(stems, "rot13").split()) for language, stems in _ROT13.items()}


def rude(name: str) -> str | None:
    """The first stem of STEMS that stands in `name`, upper and lower case alike; None when there is none."""
    folded = fold(name)
    return next((stem for stems in STEMS.values() for stem in stems if stem in folded), None)
