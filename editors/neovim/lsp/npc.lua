return require('npc').config
