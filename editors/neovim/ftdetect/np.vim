autocmd BufRead,BufNewFile *.np setfiletype np
