"""The official benchmark files: what they are called, where they are, how they are recognised.

Where the authors publish no checksum, `sha256` and `md5` are what others recorded of the same file
where that is known, else `None`; `download` then records the checksum of the first copy that comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from archrep.settings import named


@dataclass(frozen=True, kw_only=True)
class Source:
    """One official file."""

    name: str
    """What users type: `nasbench101-108`."""
    title: str
    """What the file holds, in words."""
    file: str
    """Its official name."""
    url: str | None
    """Address that a program can fetch; `None` where the host wants a browser."""
    page: str
    """Page for people: the official one, and without a `url` the one to fetch the file from."""
    size: int | None = None
    """Bytes, where known exactly."""
    sha256: str | None = None
    """Hexadecimal digest, where known."""
    md5: str | None = None
    """Hexadecimal digest, where only this one is known."""
    licence: str
    """Terms of the official repository; no file states terms of its own."""
    citation: str
    """Whom to cite."""

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Algorithm and digest by which the file is recognised."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return None if self.md5 is None else ("md5", self.md5)

    @property
    def by_hand(self) -> str:
        """What to do where a program cannot fetch the file."""
        return (
            f"Fetch {self.file} with a browser from {self.page}, then run "
            f"`archrep tables import {self.file}`."
        )


_NASBENCH101 = (
    "Ying, Klein, Christiansen, Real, Murphy and Hutter (2019), NAS-Bench-101: Towards "
    "Reproducible Neural Architecture Search. ICML, PMLR 97:7105-7114."
)
_NASBENCH201 = (
    "Dong and Yang (2020), NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture "
    "Search. ICLR."
)
_NATSBENCH = (
    "Dong, Liu, Musial and Gabrys (2021), NATS-Bench: Benchmarking NAS Algorithms for Architecture "
    "Topology and Size. IEEE TPAMI."
)
_HWNASBENCH = (
    "Li, Yu, Fu, Zhang, Zhao, You, Yu, Wang and Lin (2021), HW-NAS-Bench: Hardware-Aware Neural "
    "Architecture Search Benchmark. ICLR."
)
_NASBENCH301 = (
    "Siems, Zimmer, Zela, Lukasik, Keuper and Hutter (2020), NAS-Bench-301 and the Case for "
    "Surrogate Benchmarks for Neural Architecture Search. arXiv:2008.09777."
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="nasbench101-108",
            title="NAS-Bench-101, the trainings of 108 epochs",
            file="nasbench_only108.tfrecord",
            url="https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord",
            page="https://github.com/google-research/nasbench",
            size=522_767_376,
            sha256="4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",
            licence="Apache-2.0",
            citation=_NASBENCH101,
        ),
        Source(
            name="nasbench101-full",
            title="NAS-Bench-101, the trainings of 4, 12, 36 and 108 epochs",
            file="nasbench_full.tfrecord",
            url="https://storage.googleapis.com/nasbench/nasbench_full.tfrecord",
            page="https://github.com/google-research/nasbench",
            size=2_085_986_016,
            sha256="3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",
            licence="Apache-2.0",
            citation=_NASBENCH101,
        ),
        Source(
            name="nasbench201-v1.0",
            title="NAS-Bench-201 v1.0, without weights",
            file="NAS-Bench-201-v1_0-e61699.pth",  # its MD5 ends in e61699; the rest is unknown
            url=None,
            page="https://drive.google.com/file/d/1SKW0Cu0u8-gb18zDpaAGi0f74UdXeGKs/view",
            licence="MIT",
            citation=_NASBENCH201,
        ),
        Source(
            name="nasbench201-v1.1",
            title="NAS-Bench-201 v1.1, without weights",
            file="NAS-Bench-201-v1_1-096897.pth",
            url=None,
            page="https://drive.google.com/file/d/16Y0UwGisiouVRxW-W5hEtbxmcHw_0hF_/view",
            size=5_003_180_601,
            md5="55e847143ce1f7c2d89b676f6b096897",  # the authors publish its last six digits
            licence="MIT",
            citation=_NASBENCH201,
        ),
        Source(
            name="natsbench-tss",
            title="NATS-Bench topology space, one small file a cell",
            file="NATS-tss-v1_0-3ffb9-simple.tar",
            url=None,
            page="https://drive.google.com/file/d/17_saCsj_krKjlCBLOJEpNtzPXArMCqxU/view",
            size=1_145_989_120,
            # Recorded by users of the file; the authors publish none.
            sha256="580fd8f3425fed9f495640b0f12ccb7744f89dec7aff263bd75aed37ab0b8bb6",
            licence="MIT",
            citation=_NATSBENCH,
        ),
        Source(
            name="natsbench-tss-full",
            title="NATS-Bench topology space, everything in one file",
            file="NATS-tss-v1_0-3ffb9.pickle.pbz2",
            url=None,
            page="https://drive.google.com/file/d/1vzyK0UVH2D3fTpa1_dSWnp1gvGpAxRul/view",
            licence="MIT",
            citation=_NATSBENCH,
        ),
        Source(
            name="natsbench-sss",
            title="NATS-Bench size space, one small file a cell",
            file="NATS-sss-v1_0-50262-simple.tar",
            url=None,
            page="https://drive.google.com/file/d/1scOMTUwcQhAMa_IMedp9lTzwmgqHLGgA/view",
            licence="MIT",
            citation=_NATSBENCH,
        ),
        Source(
            name="natsbench-sss-full",
            title="NATS-Bench size space, everything in one file",
            file="NATS-sss-v1_0-50262.pickle.pbz2",
            url=None,
            page="https://drive.google.com/file/d/1IabIvzWeDdDAWICBzFtTCMXxYWPIOIOX/view",
            licence="MIT",
            citation=_NATSBENCH,
        ),
        Source(
            name="hwnasbench",
            title="HW-NAS-Bench v1.0, latency and energy on six devices",
            file="HW-NAS-Bench-v1_0.pickle",
            url="https://github.com/GATECH-EIC/HW-NAS-Bench/raw/main/HW-NAS-Bench-v1_0.pickle",
            page="https://github.com/GATECH-EIC/HW-NAS-Bench",
            licence="MIT",
            citation=_HWNASBENCH,
        ),
        Source(
            name="nasbench301-v0.9",
            title="NAS-Bench-301 surrogate models v0.9",
            file="nasbench301_models_v0.9.zip",
            url="https://ndownloader.figshare.com/files/24693026",
            page="https://figshare.com/articles/software/nasbench301_models_v0_9_zip/12962432",
            licence="BSD-3-Clause",
            citation=_NASBENCH301,
        ),
        Source(
            name="nasbench301-v1.0",
            title="NAS-Bench-301 surrogate models v1.0",
            file="nasbench301_models_v1.0.zip",
            url="https://ndownloader.figshare.com/files/24992018",
            page="https://figshare.com/articles/software/nasbench301_models_v1_0_zip/13061510",
            size=1_848_669_012,
            # Recorded by users of the file; no repository of the authors states one.
            sha256="e807411d6a454841965d3157a977896683b716dc48743049bd6be0ce94210824",
            licence="BSD-3-Clause",
            citation=_NASBENCH301,
        ),
    )
}
"""Every file by name. The archives with trained weights, hundreds of gigabytes, are left out."""


def get_source(source: str | Source) -> Source:
    """The file of that name; a `Source` is passed through.

    Raises:
        UnknownNameError: No such file; the message lists the known ones.
    """
    if isinstance(source, Source):
        return source
    return named(SOURCES, source, "Source")
