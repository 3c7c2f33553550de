
probabilities2** J:Ег>Jw╒║>JOеб>