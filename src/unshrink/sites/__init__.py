"""Sites and apps to which pictures are uploaded: what each does to them, as a table and as a simulator."""

from unshrink.sites.simulate import Arrived, simulate
from unshrink.sites.table import Door, Site, find, sites

__all__ = ["Arrived", "Door", "Site", "find", "simulate", "sites"]
